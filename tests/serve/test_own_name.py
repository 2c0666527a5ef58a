"""The commands that are suggested can be typed as they are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aiotcp.serve import ownname
from tests.support.documents import ROOT


@pytest.mark.parametrize(
    ("started", "suggested"),
    [
        ("bin/aiotcp-serve", "{here}/bin/aiotcp-serve"),
        ("/opt/my venv/bin/aiotcp-serve", "'/opt/my venv/bin/aiotcp-serve'"),
        ("/opt/venv/bin/aiotcp", "/opt/venv/bin/aiotcp serve"),
        ("/somewhere/aiotcp/serve/__main__.py", f"{ROOT}/bin/aiotcp-serve"),
    ],
)
def test_it_is_found_by_sudo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: str, suggested: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [started, "http"])
    assert ownname.as_root() == suggested.format(here=tmp_path)


def test_an_installed_package_is_run_as_a_module(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ownname, "__file__", str(tmp_path / "aiotcp" / "serve" / "ownname.py"))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    assert ownname.as_root() == f"{sys.executable} -m aiotcp.serve"
