"""Network namespaces for tests: everything that sends packets through the kernel runs in one.

A test module that needs a TUN device says

    from tests.support.netns import netns as netns
    pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

and is in a fresh namespace, loopback up and nothing else, from its first test to its last; or it is
skipped, and the reason says what is missing.

A namespace belongs to a thread. The fixture moves the main thread, where loops run and sockets are
made; threads started meanwhile inherit it, threads that were there before do not.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *args: int) -> None:
    if getattr(_libc, function)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


@contextmanager
def private_network() -> Iterator[None]:
    """The calling thread in a new network namespace with its loopback up; back at the end.

    Raises PermissionError without CAP_SYS_ADMIN.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _CLONE_NEWNET)
        try:
            _bring_up("lo")
            yield
        finally:
            _call("setns", home, _CLONE_NEWNET)
    finally:
        os.close(home)


def _bring_up(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("=16sH22x", interface.encode(), _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


@functools.cache
def obstacle() -> str:
    """Why no test can have a TUN device in a namespace of its own here; "" if it can."""
    reasons = [""]

    def attempt() -> None:
        try:
            with private_network():
                os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
        except FileNotFoundError:
            reasons.append("there is no /dev/net/tun")
        except OSError as exc:
            reasons.append(f"no network namespace with a TUN device here ({exc}): run as root")

    # A thread of its own, so that what goes wrong half-way stays there.
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return reasons[-1]


def has_ipv6() -> bool:
    """Whether the kernel speaks IPv6 in this namespace."""
    try:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6") as setting:
            return setting.read().strip() == "0"
    except OSError:
        return False


@pytest.fixture(scope="module")
def netns() -> Iterator[None]:
    """A private network for the tests of one module, or the reason why there is none."""
    if obstacle():
        pytest.skip(obstacle())
    with private_network():
        yield


@pytest.fixture(scope="module")
def loopback() -> Iterator[None]:
    """127.0.0.1 for the tests of one module: that of a private network, or without privilege the
    machine's own."""
    try:
        with private_network():
            yield
    except PermissionError:
        yield
