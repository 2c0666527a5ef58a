"""What mypyc is to know of a class (see setup.py), without a dependency on its package: this module
is not compiled, so at run time the decorator does nothing.

    allow_interpreted_subclasses=True   programs may derive from it
    acyclic=True                        what it refers to never leads back to it, so the garbage
                                        collector need not know of its objects
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:

    def mypyc_attr(**attributes):
        return lambda cls: cls
