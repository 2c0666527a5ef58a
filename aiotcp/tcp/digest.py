"""Keyed hashes: `hashlib.blake2b` and `hmac.compare_digest`, without the modules that they are in.

These load OpenSSL and try all of its algorithms, which is a tenth of what `import aiotcp` takes.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b
    from _operator import _compare_digest as compare_digest
except ImportError:  # they are CPython's own business
    from hashlib import blake2b
    from hmac import compare_digest  # type: ignore[no-redef]

__all__ = ["blake2b", "compare_digest"]
