"""What aiotcp says in traces, in Chinese.

A trace's sentences are English, for they are compared and searched for; a reader may have them in
Chinese (`phrases.toml`). What others say, as by `net.say()`, stays as it is.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable
from importlib.resources import files

_KINDS = {
    "n": r"\d+",
    "data": r"b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\"|\d+ bytes",
}
_NAME = re.compile(r"\{(\w+)\}")


def in_chinese(text: str) -> str:
    """A sentence of ours in Chinese; any other as it is."""
    for pattern, chinese in _phrases():
        if found := pattern.fullmatch(text):
            # No format(): what is filled in may have braces of its own.
            return _NAME.sub(lambda name: in_chinese(found[name[1]]), chinese)
    return text


def translations(texts: Iterable[str]) -> dict[str, str]:
    """Of these, the Chinese of those that have one."""
    pairs = ((text, in_chinese(text)) for text in dict.fromkeys(texts))
    return {text: chinese for text, chinese in pairs if chinese != text}


@functools.cache
def _phrases() -> list[tuple[re.Pattern[str], str]]:
    data = tomllib.loads(files("aiotcp.trace").joinpath("phrases.toml").read_text("utf-8"))
    return [(_pattern(english), chinese) for english, chinese in data.items()]


def _pattern(english: str) -> re.Pattern[str]:
    parts = _NAME.split(english)  # text and names in turn
    return re.compile(
        "".join(
            f"(?P<{part}>{_KINDS.get(part, '.+?')})" if odd % 2 else re.escape(part)
            for odd, part in enumerate(parts)
        )
    )
