"""What reasons mean, in a sentence, and the paragraph where it is written."""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files
from typing import NamedTuple


class Explanation(NamedTuple):
    en: str
    zh: str
    rfc: str
    """Number and section, several with commas; empty where it is our own choice."""

    def text(self, language: str = "en") -> str:
        return self.zh if language == "zh" else self.en


@functools.cache
def why() -> dict[str, Explanation]:
    """An explanation for each `reasons.Why`."""
    return _table("why")


@functools.cache
def drops() -> dict[str, Explanation]:
    """An explanation for each `reasons.Drop`."""
    return _table("drop")


def _table(name: str) -> dict[str, Explanation]:
    data = tomllib.loads(files("aiotcp.trace").joinpath("reasons.toml").read_text("utf-8"))
    return {word: Explanation(**entry) for word, entry in data[name].items()}
