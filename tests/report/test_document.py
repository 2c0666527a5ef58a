"""docs/report.md: what it shows works as it is shown, and its pictures are there."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from tests.cli.support import invoke
from tests.support.documents import ROOT, Document

PAGE = Document("docs/report.md")
MOST_BYTES = 200_000


def test_the_program(tmp_path: Path) -> None:
    assert PAGE.run("lossy.py", tmp_path) == "479 segments\n"
    assert (tmp_path / "lossy.html").stat().st_size > 100_000


def test_the_command(tmp_path: Path) -> None:
    (command, prints) = re.findall(r"^    (?:\$ aiotcp )?(.*)$", PAGE.text, re.MULTILINE)[:2]
    *words, file = command.split()
    result = invoke(*words, str(tmp_path / file))
    assert result.exit_code == 0
    assert result.output == f"{tmp_path}/{prints}\n"


def test_the_pictures() -> None:
    for name in re.findall(r"!\[[^]]+\]\((\S+)\)", PAGE.text):
        picture = ROOT / "docs" / name
        assert picture.stat().st_size <= MOST_BYTES
        assert struct.unpack(">8s4x4sII", picture.read_bytes()[:24])[0] == b"\x89PNG\r\n\x1a\n"
