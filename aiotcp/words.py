"""Enumerations of words that cost next to nothing.

A class of `enum` takes 18 µs for each of its members when it is made, and the stack has 150 of
them, a tenth of its whole import; in Python 3.11 to look one up, `Why.OPEN`, costs as much as a
call, and so does its hash. What derives from :class:`Words` can do what a `StrEnum` can, and to
type checkers it is one. To mypyc as well: in a module that is compiled it becomes a real one, for
which that module has to import `enum`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Words"]

if TYPE_CHECKING:
    from enum import StrEnum as Words
else:
    from collections.abc import Iterator, Mapping
    from types import MappingProxyType

    class _Kind(type):
        """What a class of words can do itself."""

        _named: dict[str, Words]
        _meant: dict[str, Words]

        def __new__(meta, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> _Kind:
            made = super().__new__(
                meta, name, bases, body | {"__slots__": body.get("__slots__", ())}
            )
            made._named, made._meant = {}, {}
            for key, word in body.items():
                if key.isupper():
                    member = str.__new__(made, word)
                    member.name = key
                    setattr(made, key, member)
                    made._named[key] = made._meant[word] = member
            return made

        def __call__(cls, word: str) -> Words:
            """The member that is `word`. Raises ValueError if there is none."""
            found = cls._meant.get(word) if isinstance(word, str) else None
            if found is None:
                raise ValueError(f"{word!r} is not a valid {cls.__qualname__}")
            return found

        def __getitem__(cls, name: str) -> Words:
            return cls._named[name]

        def __iter__(cls) -> Iterator[Words]:
            return iter(cls._named.values())

        def __reversed__(cls) -> Iterator[Words]:
            return reversed(cls._named.values())

        def __len__(cls) -> int:
            return len(cls._named)

        def __bool__(cls) -> bool:
            return True

        def __contains__(cls, word: object) -> bool:
            return isinstance(word, str) and word in cls._meant

        @property
        def __members__(cls) -> Mapping[str, Words]:
            return MappingProxyType(cls._named)

        def __repr__(cls) -> str:
            return f"<enum {cls.__name__!r}>"

    class Words(str, metaclass=_Kind):
        """A member is what a class assigns to a name in capital letters: one object, and a str."""

        __slots__ = ("name",)

        name: str
        """What it is called in its class."""

        @property
        def value(self) -> str:
            """The word alone."""
            return str(self)

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {str(self)!r}>"

        def __reduce__(self) -> tuple[type, tuple[str]]:
            return type(self), (str(self),)
