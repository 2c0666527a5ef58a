"""Views of what users write."""

from __future__ import annotations


def view_of(data: bytes | bytearray | memoryview) -> memoryview:
    """Bytes that nobody will change: a view of `data` where that is sure, else of a copy."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
    view = memoryview(data)
    if not (isinstance(view.obj, bytes) and view.c_contiguous):
        return memoryview(bytes(view))
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")
