"""CPython's own tests of asyncio, of the interpreter that runs, on a stack (see `repointed`)."""

from __future__ import annotations

import importlib
import unittest
from typing import Any

import pytest

from tests.cpython import repointed
from tests.cpython.table import LOOPS, SUITES, Suite, missing

if missing():
    pytest.skip(missing(), allow_module_level=True)

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("device", "environment"),
    # As CPython's own runner: what tests leave to the garbage collector fails none of them. But
    # here, a transport of ours does.
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::DeprecationWarning",
        "ignore:!!! asyncio is trying to install its ChildWatcher:RuntimeWarning",  # uvloop's
        "error:unclosed transport <Transport:ResourceWarning",
    ),
]


def made(suite: Suite, case: Any, loop: str) -> type[unittest.TestCase]:
    body: dict[str, Any] = {
        "__module__": __name__,
        "new_loop_on_stack": staticmethod(repointed.LOOPS[loop]),
    }
    wanted = set(suite.tests(case)) - set(suite.reasons(loop))
    for name in unittest.defaultTestLoader.getTestCaseNames(case):
        if name not in wanted:
            body[name] = None
    bases: tuple[Any, ...] = (repointed.OnStack, case)
    if suite.module == "test_sendfile":
        bases = (repointed.SendfileOnStack, *bases)
    if not issubclass(case, unittest.TestCase):
        bases += (importlib.import_module("test.test_asyncio.utils").TestCase,)
    name = f"Test_{suite.module.removeprefix('test_')}_{suite.case}_{loop}"
    return type(name, bases, body)


for _suite in SUITES:
    _case = _suite.find()
    for _loop in LOOPS if _case is not None else ():
        _made = made(_suite, _case, _loop)
        globals()[_made.__name__] = _made
del _made
