"""What a user reads where there is no TUN device to be had. Needs none."""

from __future__ import annotations

import errno
import os

import pytest

from aiotcp.link.tun import Tun


@pytest.mark.parametrize("name", ["", "sixteen-letters!", "a/b", "nul\0"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="device name"):
        Tun(name)


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOENT, FileNotFoundError, "modprobe tun"),
        (errno.ENODEV, FileNotFoundError, "--device /dev/net/tun"),
        (errno.EACCES, PermissionError, "may not be opened"),
    ],
)
def test_without_a_usable_device_node_the_error_says_the_way_out(
    number: int, kind: type[OSError], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(kind, match=message):
        Tun()
