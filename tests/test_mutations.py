"""make mutations: every mutation fits the code as it is, and the check itself can fail."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.runner import ROOT, Mutation, Verdict, attempt

TESTED = """
def test_sum() -> None:
    from code_under_test import double
    assert double(2) == 4
"""
DOUBLE = Mutation(
    rfc="0",
    removes="doubling",
    file="code_under_test.py",
    old="return 2 * x",
    new="return 3 * x",
    tests=("test_it.py",),
)

IN_SCOPE = {
    *("1191", "2018", "2861", "2883", "3168", "4821", "4987", "5461", "5482", "5927", "5961"),
    *("4015", "5682", "6191", "6675", "6928", "7323", "7413", "8201", "8985", "9293", "9406"),
    *("9438", "9768", "9937", "BBR"),
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_it_fits_the_code(mutation: Mutation) -> None:
    mutated = mutation.applied((ROOT / mutation.file).read_text())
    ast.parse(mutated)
    for test in mutation.tests:
        assert (ROOT / test.partition("::")[0]).exists()


def test_every_rfc_has_one() -> None:
    assert {each.rfc.split()[0] for each in MUTATIONS} >= IN_SCOPE


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "code_under_test.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "test_it.py").write_text(TESTED)
    return tmp_path


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        ("return 3 * x", Verdict.CAUGHT),
        ("return x + x", Verdict.SURVIVED),
    ],
)
def test_a_verdict(tree: Path, new: str, verdict: Verdict) -> None:
    before = (tree / "code_under_test.py").read_text()
    assert attempt(replace(DOUBLE, new=new), tree)[0] is verdict
    assert (tree / "code_under_test.py").read_text() == before


def test_tests_that_do_not_run_catch_nothing(tree: Path) -> None:
    assert attempt(replace(DOUBLE, tests=("test_none.py",)), tree)[0] is Verdict.BROKEN


def test_an_edit_must_fit_exactly_once() -> None:
    with pytest.raises(ValueError, match="has 2 of"):
        DOUBLE.applied("return 2 * x\nreturn 2 * x\n")
