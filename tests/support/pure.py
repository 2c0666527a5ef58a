"""The Python of a core that is compiled: what mypyc made lies beside its sources."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader


class _Sources:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        if path is None or not name.startswith("aiotcp."):
            return None
        finders = (FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)) for folder in path)
        specs = (finder.find_spec(name) for finder in finders)
        return next((spec for spec in specs if spec is not None), None)


def prefer_sources() -> None:
    """From now on modules of aiotcp come from Python sources alone. To be called before any is
    imported."""
    assert "aiotcp" not in sys.modules
    sys.meta_path.insert(0, _Sources)
