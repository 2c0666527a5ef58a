"""What values an option takes: to check it, to read it from a command line."""

from __future__ import annotations

import math
from typing import Any

_TRUE = frozenset({"on", "true", "yes", "1"})
_FALSE = frozenset({"off", "false", "no", "0"})
_SUFFIXES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Range:
    """Numbers between two bounds, both included."""

    __slots__ = ("high", "low")

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.high = high


class Names(tuple[str, ...]):
    """One of a few words."""

    __slots__ = ()


class Kind:
    """What an option is."""

    __slots__ = ("bounds", "of_stack", "optional", "or_class", "type")

    def __init__(
        self,
        type: type,
        bounds: Range | Names | None,
        optional: bool,
        or_class: bool,
        of_stack: bool,
    ) -> None:
        self.type = type
        """bool, int, float or str."""
        self.bounds = bounds
        self.optional = optional
        """None is a value."""
        self.or_class = or_class
        """So is a class, or whatever else can be called."""
        self.of_stack = of_stack
        """It says something of a stack as a whole, and nothing of one listener or connection."""

    def check(self, name: str, value: object) -> None:
        """Raise ValueError or TypeError, naming the option `name`, for what is no value of it."""
        bounds = self.bounds
        if type(value) is self.type:  # the usual case, in few steps
            if isinstance(bounds, Range):
                if bounds.low <= value <= bounds.high:  # type: ignore[operator]
                    return
            elif bounds is None or value in bounds:
                return
        if (value is None and self.optional) or (self.or_class and callable(value)):
            return
        fits = True
        if self.type is bool or self.type is str:
            well_typed = isinstance(value, self.type)
            if isinstance(self.bounds, Names):
                fits = value in self.bounds
        else:
            well_typed = isinstance(value, int | float) and not isinstance(value, bool)
            if well_typed and isinstance(self.bounds, Range):
                fits = self.bounds.low <= value <= self.bounds.high  # type: ignore[operator]
        if not well_typed:
            raise TypeError(f"{name} must be {self._words('None', self.or_class)}, not {value!r}")
        if not fits:
            raise ValueError(f"{name} must be {self._words('None', self.or_class)}, not {value!r}")
        if self.type is int and not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number, not {value!r}")

    def read(self, name: str, text: str) -> Any:
        """The value that `text` spells. Raises ValueError, naming the option `name`.

        Truth is spelled on or off (or true, yes, 1; false, no, 0), the absence of a value none.
        Whole numbers may end in k, m or g: times 1024, 1024**2, 1024**3.
        """
        word = text.strip().lower()
        if self.optional and word == "none":
            return None
        try:
            value = self._read(word)
            self.check(name, value)
        except (ValueError, TypeError):
            raise ValueError(f"{name} must be {self.spelling}, not {text!r}") from None
        return value

    def _read(self, word: str) -> bool | int | float | str:
        if self.type is bool:
            if word not in _TRUE | _FALSE:
                raise ValueError
            return word in _TRUE
        if self.type is str:
            return word
        if self.type is float:
            return float(word)
        factor = _SUFFIXES.get(word[-1:], 1)
        return int(word[:-1] if factor > 1 else word) * factor

    @property
    def spelling(self) -> str:
        """What can be written on a command line: "between 1 and 100, or none"."""
        if self.type is bool:
            return "on or off"
        return self._words("none", or_class=False)

    def _words(self, nothing: str, or_class: bool) -> str:
        if isinstance(self.bounds, Names):
            words = [*self.bounds, *["a class"] * or_class]
            return ", ".join(words[:-1]) + f" or {words[-1]}"
        if isinstance(self.bounds, Range):
            text = f"between {number(self.bounds.low)} and {number(self.bounds.high)}"
        else:
            text = "True or False" if self.type is bool else f"of type {self.type.__name__}"
        return f"{text}, or {nothing}" if self.optional else text


def number(value: float) -> str:
    """A bound or a default as a reader wants it: large powers of two as such."""
    if math.isinf(value):
        return "infinity"
    if isinstance(value, int) and value >= 1 << 16 and not value & (value - 1):
        return f"2**{value.bit_length() - 1}"
    return str(value) if isinstance(value, int) else f"{value:g}"


def spelled(value: object) -> str:
    """A value as `Kind.read` takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        for suffix, factor in (("m", 1 << 20), ("k", 1 << 10)):
            if value and value % factor == 0:
                return f"{value // factor}{suffix}"
    return f"{value:g}" if isinstance(value, float) else str(value)
