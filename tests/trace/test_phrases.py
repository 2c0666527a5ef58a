"""Sentences of a trace in Chinese. That each has some is shown where they are made."""

from __future__ import annotations

import pytest

from aiotcp.trace.phrases import in_chinese, translations


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("crashes", "崩溃"),
        ("read 300 bytes and the end", "读到 300 字节，并读到结尾"),
        ("read b'{n} and the end'", "读到 b'{n} and the end'"),
        ("read b'it\\'s' and the end", "读到 b'it\\'s'，并读到结尾"),
        ("netem from a to b: delay 40ms", "netem（从 a 到 b）：delay 40ms"),
        (
            "2 packets are no TCP segments, or could not be read, 1 of them captured in part",
            "2 个分组不是 TCP 报文段，或无法读取，其中 1 个只捕获了一部分",
        ),
        (
            "window scale unknown of connections 1, 2, 3, 4, 5 and 4 more: the handshake is not in "
            "the capture, and windows are as in the headers",
            "窗口扩大因子未知（连接 1, 2, 3, 4, 5 以及另外 4 个）：捕获中没有握手，"
            "窗口为首部中的原值",
        ),
        # Not ours.
        ("ConnectionResetError ECONNRESET", "ConnectionResetError ECONNRESET"),
        ("read the newspaper", "read the newspaper"),
        ("crashes.", "crashes."),
        ("", ""),
    ],
)
def test_a_sentence(english: str, chinese: str) -> None:
    assert in_chinese(english) == chinese


def test_only_what_is_another_text_in_chinese_counts() -> None:
    assert translations(["heals", "heals", "hello"]) == {"heals": "网络恢复"}
