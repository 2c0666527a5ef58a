"""A browser for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.chromium import Chromium, obstacle


@pytest.fixture(scope="module")
def chromium(loopback: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if why := obstacle():
        pytest.skip(why)
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
