"""Which of CPython's own tests run on the stack, and which do not, and why.

`python -m tests.cpython` writes what this comes to into docs/compatibility.md.
"""

from __future__ import annotations

import importlib
import re
import sys
import unittest
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

LOOPS = ("asyncio", "uvloop")


@dataclass(frozen=True)
class Suite:
    """One test case (class, or mixin) of CPython's `test.test_asyncio`.

    only: a pattern of the names of its tests, where the others are not about connections.
    excluded: tests that can't run, with the reasons; on_uvloop, on_3_12: those that can't there.
    """

    module: str
    case: str
    only: str = ""
    excluded: Mapping[str, str] = field(default_factory=dict)
    on_uvloop: Mapping[str, str] = field(default_factory=dict)
    on_3_12: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.module}.{self.case}"

    def find(self) -> Any | None:
        """The class; None where this Python has none of the name."""
        module = importlib.import_module(f"test.test_asyncio.{self.module}")
        return getattr(module, self.case, None)

    def reasons(self, loop: str) -> dict[str, str]:
        """Why each test that can't run on `loop` can't."""
        of_loop = self.on_uvloop if loop == "uvloop" else {}
        of_python = self.on_3_12 if sys.version_info[:2] == (3, 12) else {}
        return {**self.excluded, **of_loop, **of_python}

    def tests(self, case: Any) -> Iterator[str]:
        """Those about connections."""
        for test in all_tests(case):
            if re.search(self.only, test):
                yield test


def all_tests(case: Any) -> list[str]:
    """Those that are for this system: not Windows' own."""
    names = unittest.defaultTestLoader.getTestCaseNames(case)
    return [name for name in names if not getattr(getattr(case, name), "__unittest_skip__", False)]


def missing() -> str:
    """Why CPython's tests can't run here; "" if they can."""
    if find_spec("test") is not None and find_spec("test.test_asyncio") is not None:
        return ""
    return (
        "this Python comes without its own tests (test.test_asyncio); Debian has them in "
        f"libpython3.{sys.version_info.minor}-testsuite"
    )


_PRIVATE = "calls private methods of servers, which 3.13's does not"
_KERNELS_PORT = "takes a port that a listener of the kernel has, and the stack has ports of its own"
_INTERNALS = "replaces asyncio's own internals"
_NO_SENDFILE = "is about the system call: a stack has none, and uses the fallback"
_NO_UVLOOP_SENDFILE = "is about a transport of uvloop's, which has no sendfile()"
_ONE_TURN = (
    "looks one turn of the loop after the handshake, when the server's answer and its FIN may have "
    "come and the connection be over: both take one turn, where asyncio reads once a turn"
)

SUITES = (
    Suite("test_streams", "StreamTests"),
    Suite(
        "test_server",
        "SelectorStartServerTests",
        on_uvloop={"test_start_unix_server_1": "is about uvloop's own Unix servers"},
    ),
    Suite(
        "test_server",
        "TestServer2",
        on_3_12={"test_wait_closed_basic": _PRIVATE, "test_wait_closed_race": _PRIVATE},
    ),
    Suite("test_buffered_proto", "BufferedProtocolSelectorTests"),
    Suite("test_sslproto", "SelectorStartTLSTests"),
    Suite("test_ssl", "TestSSL"),
    Suite(
        "test_events",
        "EventLoopTestsMixin",
        only="create_(connection|server|ssl_connection)|connect_accepted|server_close",
        excluded={
            "test_create_connection_local_addr_in_use": _KERNELS_PORT,
            "test_create_server_addr_in_use": _KERNELS_PORT,
            "test_create_server_trsock": "duplicates the descriptor of the server's socket",
            "test_create_ssl_connection": _ONE_TURN,
        },
        on_uvloop={
            "test_create_server_multiple_hosts_ipv4": _INTERNALS,
            "test_create_server_multiple_hosts_ipv6": _INTERNALS,
        },
    ),
    Suite(
        "test_sendfile",
        "SendfileTestsBase",
        only="^test_sendfile",
        excluded={
            "test_sendfile_force_unsupported_native": _NO_SENDFILE,
            "test_sendfile_prevents_bare_write": _NO_SENDFILE,
        },
        on_uvloop={
            "test_sendfile_no_fallback_for_fallback_transport": _NO_UVLOOP_SENDFILE,
            "test_sendfile_not_supported": _NO_UVLOOP_SENDFILE,
        },
    ),
    Suite("test_sock_lowlevel", "BaseSockTestsMixin", only="sock_client_ops|huge_content"),
    Suite("test_context", "DecimalContextTest"),
)
