"""Captures as they lie about: plain, or as gzip, bzip2 or xz have made them smaller."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shlex
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO, Protocol


class NoCapture(ValueError):
    """The file is no capture, or one whose contents make no sense."""


class _Decompressing(Protocol):
    def read1(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


_KNOWN: dict[bytes, Callable[[BinaryIO], _Decompressing]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "zstd -d",
    b"\x04\x22\x4d\x18": "lz4 -d",
    b"\x1f\x9d": "gzip -d",
    b"PK\x03\x04": "unzip",
}
"""What unpacks those that the standard library does not know."""


class Plain(io.BufferedReader):
    """What is in a file, unpacked. `breaks_off`: whether the compressed one ended too early."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """ "-" is stdin. Raises OSError and NoCapture."""
        with ExitStack() as opened:
            is_stdin = os.fspath(path) == "-"
            file = opened.enter_context(open(0 if is_stdin else path, "rb", closefd=not is_stdin))
            head = file.peek(6)
            for magic, command in _OTHERS.items():
                if head.startswith(magic):
                    unpack = command if is_stdin else f"{command} {shlex.quote(os.fspath(path))}"
                    raise NoCapture(
                        f"it is compressed, and not by gzip, bzip2 or xz; first {unpack}"
                    )
            made = next((make for magic, make in _KNOWN.items() if head.startswith(magic)), None)
            self._raw = _Raw(file, made(file) if made else file)
            super().__init__(self._raw)
            opened.pop_all()

    @property
    def breaks_off(self) -> bool:
        return self._raw.breaks_off


class _Raw(io.RawIOBase):
    def __init__(self, file: BinaryIO, plain: _Decompressing) -> None:
        self._file = file
        self._plain = plain
        self.breaks_off = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._plain.read1(len(buffer))
        except EOFError:
            self.breaks_off = True
            return 0
        except (zlib.error, lzma.LZMAError, gzip.BadGzipFile) as exc:
            raise NoCapture(f"it can't be unpacked: {exc}") from None
        except OSError as exc:
            if exc.errno is None:  # bz2's
                raise NoCapture(f"it can't be unpacked: {exc}") from None
            raise
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._plain.close()
            self._file.close()
        super().close()
