"""Lines of text for terminals: as wide as is asked for, in both languages."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from aiotcp.cli.wrapping import wrapped
from aiotcp.scenario.model import LANGUAGES, find, shipped


def test_english_breaks_at_blanks() -> None:
    text = "The quick brown fox jumps over the lazy dog."
    assert wrapped(text, 16) == ["The quick brown", "fox jumps over", "the lazy dog."]
    assert wrapped("first\n\nsecond  ", 60) == ["first", "", "second"]


def test_chinese_breaks_between_characters_and_fills_the_line() -> None:
    assert wrapped("发送方 SYN 等待确认", 12) == ["发送方 SYN", "等待确认"]
    assert wrapped("服务器的程序停止读取", 8) == ["服务器的", "程序停止", "读取"]
    # A rule by blanks would leave the first line nearly empty.
    assert wrapped("RTO 服务器的程序停止读取", 12) == ["RTO 服务器的", "程序停止读取"]


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("服务器读取。客户端", 10, ["服务器读", "取。客户端"]),
        ("服务器（客户端）", 8, ["服务器", "（客户", "端）"]),
        ("窗口为零，就会问", 8, ["窗口为", "零，就会", "问"]),
        ("他说“等待”就是", 9, ["他说“等", "待”就是"]),
        ("他说“等待”就是", 5, ["他说", "“等", "待”就", "是"]),
        ("发送 ACK，然后", 8, ["发送", "ACK，然", "后"]),
    ],
)
def test_no_line_begins_with_punctuation_that_closes_or_ends_with_one_that_opens(
    text: str, width: int, lines: list[str]
) -> None:
    assert wrapped(text, width) == lines


def test_what_is_too_long_is_broken_anywhere() -> None:
    assert wrapped("a 0123456789ABCDEF z", 8) == ["a", "01234567", "89ABCDEF", "z"]
    assert wrapped("字", 1) == ["字"]
    assert wrapped("", 10) == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_answers(language: str, width: int) -> None:
    for name in shipped():
        answer = find(name).answer[language]
        lines = wrapped(answer, width)
        assert "".join("".join(lines).split()) == "".join(answer.split())
        assert max(map(cell_len, lines)) <= width
        assert not [line for line in lines if line[:1] in set("，。、；：？！）》”")]
        if language == "zh":
            # Only a word of another language, or punctuation, makes one much shorter.
            full = [line for line in lines[:-1] if cell_len(line) > width - 16]
            assert len(full) >= 0.9 * len(lines[:-1])
