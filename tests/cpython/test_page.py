"""docs/compatibility.md tells the truth about CPython's own tests."""

from __future__ import annotations

import sys

import pytest

from tests.cpython.page import PAGE, is_about_here, problems, rewritten, sections
from tests.cpython.table import SUITES, missing

if missing():
    pytest.skip(missing(), allow_module_level=True)


def test_the_page_is_true() -> None:
    assert not list(problems(PAGE.read_text())), "python -m tests.cpython writes it"


def test_the_page_can_be_found_wrong_and_is_put_right() -> None:
    page = PAGE.read_text()
    reason = next(reason for suite in SUITES for reason in suite.excluded.values())
    wrong = page.replace(reason, "can't be bothered")
    assert list(problems(wrong))
    assert not list(problems(rewritten(wrong)))
    assert is_about_here(rewritten(page.replace("#### CPython ", "#### Jython ")))


def test_the_page_has_numbers_of_each_python() -> None:
    versions = [title.split()[1] for title in sections(PAGE.read_text()) if title]
    assert {version.rpartition(".")[0] for version in versions} == {"3.11", "3.12", "3.13"}


@pytest.mark.skipif(sys.version_info < (3, 13), reason="some of them are new in 3.13")
def test_what_is_excluded_exists() -> None:
    for suite in SUITES:
        excluded = {*suite.excluded, *suite.on_uvloop, *suite.on_3_12}
        assert excluded <= set(suite.tests(suite.find())), suite.name
