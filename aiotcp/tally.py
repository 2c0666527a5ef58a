"""Counting by name. Not compiled with the rest of the stack: what mypyc makes of a class that is a
`Counter` loses what is assigned in its body, which is all that there is to this one."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Tally(Counter[Any]):
    """A Counter in which counting is quick: `Counter` has a method of its own for `del`, and for
    its sake each assignment takes the long way. (To delete what is not there is an error here.)"""

    __setitem__ = dict.__setitem__
    __delitem__ = dict.__delitem__
