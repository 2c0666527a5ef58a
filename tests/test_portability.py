"""Everything but TUN devices and aiotcp-serve works without what only Linux, or only POSIX has.

There is no macOS or Windows here: Python is made to look as it does there, as far as modules and
names go. What their kernels do otherwise is not tested.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support import elsewhere
from tests.support.netns import loopback as loopback

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 120.0


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_without_the_names_of_linux_everything_imports_and_transfers(
    system: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, elsewhere.__file__, system],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    without = " this system has no unix sockets" if system == "win32" else ""
    assert done.stdout == f"imported True\nmemory 300000\nudp 1000000\nunix{without}\n"


def test_packages_that_are_for_some_systems_only_say_so() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dependencies = "\n".join(project["dependencies"])
    markers = dict(re.findall(r"^([a-z0-9]+).*; (.*)$", dependencies, re.MULTILINE))
    assert markers == {
        "uvloop": "sys_platform != 'win32'",
        "pyroute2": "sys_platform == 'linux'",
    }
