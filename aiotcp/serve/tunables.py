"""-o name=value: the stack's options from the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiotcp.options import KINDS, Options, kind_of
from aiotcp.ranges import spelled
from aiotcp.serve.problems import BadOptions


def read_options(settings: Iterable[str]) -> Options:
    """The options that "name=value" each says; of two that say the same, the later one counts.

    Raises BadOptions, with the one thing that is wrong.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals:
            raise BadOptions(f"-o {setting}: not NAME=VALUE, as in -o cc=bbr; -o help lists them")
        try:
            changes[name] = kind_of(name).read(name, text)
        except TypeError as exc:
            stop = "" if str(exc).endswith("?") else "."
            raise BadOptions(f"-o {setting}: {exc}{stop} -o help lists all") from None
        except ValueError as exc:
            raise BadOptions(f"-o {setting}: {exc}") from None
    try:
        return Options(**changes)
    except ValueError as exc:  # they do not go together
        raise BadOptions(f"-o: {exc}") from None


def table() -> str:
    """What there is to set: a line for each option."""
    defaults = Options()
    rows = [("option", "default", "value"), ("", "", "")]
    for name, kind in KINDS.items():
        rows.append((name, spelled(getattr(defaults, name)), kind.spelling))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [
        f"{name:{widths[0]}}  {default:{widths[1]}}  {value}".rstrip()
        for name, default, value in rows
    ]
    lines += ["", "Bytes and counts may end in k, m or g. docs/options.md says what each is for."]
    return "\n".join(lines)
