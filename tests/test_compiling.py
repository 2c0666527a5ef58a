"""The core can be compiled: mypyc translates it (`make test-compiled` runs what comes of that)."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(find_spec("mypyc") is None, reason="mypyc is not installed")
def test_mypyc_translates_the_core(tmp_path: Path) -> None:
    program = f"from setup import translated; translated({str(tmp_path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CPyDef_arrival___arrive(" in (tmp_path / "__native_aiotcp.c").read_text()
