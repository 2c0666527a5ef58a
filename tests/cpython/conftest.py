"""The device on which CPython's own tests run, and what they must leave as it was."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from aiotcp.link import network
from tests.cpython import repointed
from tests.support.netns import netns as netns


@pytest.fixture(scope="module")
def device(netns: None) -> Iterator[None]:
    """One TUN device for the stacks of all tests, one after the other."""
    tun, _ = network.open_tun()
    repointed.device = os.dup(tun.fileno())
    tun.close()
    yield
    os.close(repointed.device)
    repointed.device = -1


@pytest.fixture
def environment() -> Iterator[None]:
    """Fails, as CPython's own runner, a test that leaves threads or processes behind; and one whose
    loop has something to report that the test doesn't expect."""
    support: Any = importlib.import_module("test.support")
    support.environment_altered = False
    repointed.reports.clear()
    yield
    assert not support.environment_altered
    assert not repointed.reports
