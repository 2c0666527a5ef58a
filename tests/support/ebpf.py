"""Runs an eBPF program on packets, in the kernel, without a device."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from aiotcp.link import steering

_BPF_PROG_TEST_RUN = 10
_ATTRIBUTES = struct.Struct("=IIIIQQIIIIQQ")
_CALL_NUMBERS = {"x86_64": 321, "aarch64": 280}
_ETHERNET = bytes(14)  # the kernel wants one before the packet, and takes it off


def obstacle() -> str:
    """Why no program can be run here; "" if it can."""
    try:
        with Program(steering.Steering(1, 0).program()) as program:
            program.run(bytes(64))
    except (OSError, KeyError) as exc:
        return f"no eBPF here ({exc}): run as root"
    return ""


class Program:
    """A loaded program, until the end of the block."""

    def __init__(self, code: bytes) -> None:
        self._fd = steering.load(code)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def run(self, packet: bytes) -> int:
        """What it returns for the packet."""
        data = ctypes.create_string_buffer(_ETHERNET + packet)
        length = len(_ETHERNET) + len(packet)
        where = ctypes.addressof(data)
        attributes = ctypes.create_string_buffer(
            _ATTRIBUTES.pack(self._fd, 0, length, 0, where, 0, 1, 0, 0, 0, 0, 0), _ATTRIBUTES.size
        )
        call = ctypes.c_long(_CALL_NUMBERS[platform.machine()])
        size = ctypes.c_uint(_ATTRIBUTES.size)
        if self._libc.syscall(call, ctypes.c_int(_BPF_PROG_TEST_RUN), attributes, size) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        result: int = _ATTRIBUTES.unpack(attributes.raw)[1]
        return result
