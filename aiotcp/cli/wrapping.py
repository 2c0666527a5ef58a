"""Text in lines of so many columns, Chinese too: its characters take two, it has no blanks, and a
line begins with no closing punctuation and ends with no opening one (JLREQ 3.1.7, 3.1.8)."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len

_CLOSING = frozenset("，。、；：？！）》」』】〉〕”’…—·％,.;:?!)]}%")
_OPENING = frozenset("（《「『【〈〔“‘([{")


def wrapped(text: str, width: int) -> list[str]:
    """The lines, without blanks at their ends. Only what can't be broken elsewhere is broken
    anywhere."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for piece in _pieces(paragraph):
            if line and cell_len(line + piece.rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            while cell_len(piece.rstrip()) > width:
                fits = _that_fits(piece, width)
                lines.append(piece[:fits])
                piece = piece[fits:]
            line += piece
        if line or not paragraph:
            lines.append(line.rstrip())
    return lines


def _pieces(text: str) -> Iterator[str]:
    """What stays together, each with the blanks behind it."""
    begins = 0
    for at in range(1, len(text)):
        before, behind = text[at - 1], text[at]
        if behind.isspace():
            continue
        if before.isspace() or (
            (_is_wide(before) or _is_wide(behind))
            and before not in _OPENING
            and behind not in _CLOSING
        ):
            yield text[begins:at]
            begins = at
    yield text[begins:]


def _is_wide(sign: str) -> bool:
    return cell_len(sign) == 2


def _that_fits(text: str, width: int) -> int:
    """How many characters of it, at least one."""
    count = 1
    while cell_len(text[: count + 1]) <= width:
        count += 1
    return count
