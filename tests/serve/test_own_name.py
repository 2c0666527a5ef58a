"""The commands that are suggested can be typed as they are."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from aiotcp.serve import device, ownname
from aiotcp.serve.live import Door
from aiotcp.serve.problems import BadOptions, NoPermission
from aiotcp.serve.settings import Settings
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


@pytest.mark.parametrize(
    ("started", "suggested"),
    [
        ("/opt/venv/bin/aiotcp", "/opt/venv/bin/aiotcp nc"),
        ("/somewhere/aiotcp/cli/__main__.py", f"{ROOT}/bin/aiotcp nc"),
    ],
)
def test_another_subcommand_suggests_itself(
    monkeypatch: pytest.MonkeyPatch, started: str, suggested: str
) -> None:
    monkeypatch.setattr(sys, "argv", [started, "nc"])
    assert ownname.as_root("nc") == suggested

    def refuse(*args: object, **kwds: object) -> NoReturn:
        raise PermissionError(errno.EPERM, "not allowed")

    monkeypatch.setattr(device, "Tun", refuse)
    with pytest.raises(NoPermission) as told:
        device.open_device(Settings(device="lo", addresses=("192.0.2.2",), configure=False), "nc")
    assert f"sudo {suggested} …\n" in str(told.value)
    assert "aiotcp-serve" not in str(told.value)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EADDRINUSE, "--web 127.0.0.1:80: Address already in use"),
        (
            errno.EADDRNOTAVAIL,
            "--web 127.0.0.1:80: Cannot assign requested address; a network namespace begins "
            "without it: ip link set lo up",
        ),
    ],
)
def test_a_live_page_without_its_address(
    monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def refuse(*args: object, **kwds: object) -> NoReturn:
        raise OSError(number, f"{os.strerror(number)} (while attempting to bind on address …)")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(BadOptions) as told:
        Door("127.0.0.1", 80)
    assert str(told.value) == said
