"""A windowed maximum, in virtual time (draft-ietf-ccwg-bbr-05 5.5.5, 5.5.9).

Time is a count, of round trips or of probing cycles; samples of the last `length` counts are
remembered. The draft points to Nichols' filter, which keeps three samples and so an estimate; one
sample for each count, none that a later one exceeds, is exact, and the windows are short.
"""

from __future__ import annotations


class WindowedMax:
    """The maximum over a sliding window."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: list[tuple[int, float]] = []  # times rise, values fall

    def update(self, value: float, time: int, length: int) -> float:
        """Take in `value`; the maximum of the window (time - length, time]."""
        samples = self._samples
        if samples:
            newest_time, newest = samples[-1]
            if newest_time != time or value > newest:
                while samples and samples[-1][1] <= value:
                    samples.pop()
                samples.append((time, value))
            while samples[0][0] <= time - length:
                del samples[0]
        else:
            samples.append((time, value))
        return samples[0][1]
