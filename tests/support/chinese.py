"""What a trace says that a Chinese reader would get in English."""

from __future__ import annotations

import re

from aiotcp.trace.events import Fault, Said, Trace
from aiotcp.trace.phrases import in_chinese

_ERROR = re.compile(r"\w+Error( E[A-Z]+)?")


def left_in_english(trace: Trace) -> list[str]:
    """Its sentences without Chinese; errors have names, and those stay."""
    told = [event.text for event in trace.events if isinstance(event, Said | Fault)]
    return [
        text
        for text in [*trace.notes, *told]
        if not is_chinese(in_chinese(text)) and not _ERROR.fullmatch(text)
    ]


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= sign <= "\u9fff" for sign in text)
