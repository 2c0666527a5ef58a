"""What Reno and CUBIC share: all but how the window grows once it is near what the path takes.

Slow start counts bytes (RFC 3465), with HyStart++ (RFC 9406) until the first loss. One deviation,
said aloud: RFC 5681 caps its growth at one SMSS per acknowledgment, and RFC 3465 at two. A link
with segmentation offload carries tens of segments in a frame and gets one acknowledgment for all,
so growth is by the bytes acknowledged. After a timeout RFC 3465 2.3 asks for one SMSS, as an
acknowledgment may then cover much that had left the network long before; what was in the network
at that time bounds it just as well, and leaves frames whole.
"""

from __future__ import annotations

from typing import ClassVar, Final

from aiotcp.tcp.congestion import Ack, CongestionControl, Phase, Start
from aiotcp.tcp.cwv import after_idle, after_limited, remembered
from aiotcp.tcp.hystart import HyStart

_OPEN: Final = Phase.OPEN
_NOT_ASKED: Final = HyStart()  # what most have, all their life: never told anything
_RTO_MARGIN_S: Final = 0.2
"""An RTO beyond the smoothed round trip on a path with little variance, as Linux has it."""


class LossBased(CongestionControl):
    """Slow start, multiplicative decrease to `beta` of the flight, undo, and window validation.

    For subclasses: `_avoid` grows the window in congestion avoidance, `_pause` hears that it is not
    used, `_new_stage` that it was set to something else.
    """

    __slots__ = (
        "_full_at",
        "_hystart",
        "_phase",
        "_restart_window",
        "_saved",
        "_srtt",
        "_used",
    )

    beta: ClassVar[float]
    """What is left of the flight after a loss or a mark."""

    def __init__(self, start: Start) -> None:
        CongestionControl.__init__(self, start)
        self._restart_window = start.restart_window
        self._hystart: HyStart | None = _NOT_ASKED
        self._srtt = start.rtt or 0.0
        self._phase = _OPEN  # of the last event; an undo ends it
        self._saved: tuple[int, int, HyStart | None] | None = None
        self._full_at: float | None = start.now  # the window was last used to its full
        self._used = 0  # the most in the network since

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Whoever has an `on_ack` of his own wants to see every acknowledgment there."""
        super().__init_subclass__(**kwargs)
        if "on_ack" in vars(cls) and "on_usual_ack" not in vars(cls):
            cls.on_usual_ack = CongestionControl.on_usual_ack  # type: ignore[method-assign]

    def _avoid(self, now: float, acked: int) -> None:
        """Congestion avoidance: `acked` bytes were delivered, and the window is in use."""
        raise NotImplementedError

    def _pause(self, now: float) -> None:
        """What the window would be does not matter now, and nothing is learnt of it."""

    def _new_stage(self) -> None:
        """The window was reduced, or went back: the next congestion avoidance is another one."""

    # -- growth -----------------------------------------------------------------------------

    def on_ack(self, ack: Ack) -> None:
        rtt = ack.rtt
        if rtt is not None:
            srtt = self._srtt
            self._srtt = srtt + (rtt - srtt) / 8 if srtt else rtt
        if ack.phase is Phase.RECOVERY or not ack.advanced:
            # RFC 5681 3.1: a window grows for an ACK that "cumulatively acknowledges new data"; for
            # those that tell of a hole it MUST NOT change (RFC 3042 2).
            return
        if self._is_unused(ack.prior_flight, ack.cwnd_limited):
            self._pause(ack.now)
            if ack.phase is _OPEN:
                self._unused(ack.now, ack.prior_flight)
        elif self.cwnd < self.ssthresh:
            step, hystart = ack.acked, self._hystart
            if hystart is _NOT_ASKED:
                hystart = self._hystart = HyStart()
            if hystart is not None:
                step = hystart.grow(step, ack.flight, rtt, ack.delivered, ack.merged)
            if ack.phase is Phase.LOSS:
                step = min(step, max(ack.prior_flight, self.mss))
            self._slow_start(ack.now, 0 if ack.ece else step)
        else:
            self._full_at, self._used = ack.now, 0
            if not ack.ece:  # RFC 3168 6.1.2: no growth for an acknowledgment that tells of a mark
                self._avoid(ack.now, ack.acked)

    def on_usual_ack(
        self, now: float, acked: int, flight: int, rtt: float, limited: bool, total: int, count: int
    ) -> bool:
        srtt = self._srtt
        self._srtt = srtt + (rtt - srtt) / 8 if srtt else rtt
        if not limited and (2 * flight < self.cwnd or self.cwnd >= self.ssthresh):  # _is_unused
            self._pause(now)
            full_at = self._full_at
            if (
                full_at is None
                or flight > self._used
                or now - full_at >= self._srtt + _RTO_MARGIN_S
            ):
                self._unused(now, flight)  # else it would note nothing
        elif self.cwnd < self.ssthresh:
            step, hystart = acked, self._hystart
            if hystart is _NOT_ASKED:
                hystart = self._hystart = HyStart()
            if hystart is not None:
                step = hystart.grow(step, flight - acked, rtt, total, count)
            self._slow_start(now, step)
        else:
            self._full_at, self._used = now, 0
            self._avoid(now, acked)
        return True

    def _slow_start(self, now: float, step: int) -> None:
        self._full_at, self._used = now, 0
        self.cwnd = min(self.cwnd + step, self.ssthresh)
        hystart = self._hystart
        if hystart is not None and hystart.finished:
            self._hystart = None
            self.ssthresh = max(self.cwnd, 2 * self.mss)

    # -- a window that is not used (RFC 2861) -------------------------------------------------

    def _is_unused(self, flight: int, limited: bool) -> bool:
        """Slow start goes on to at most twice what was used: half of a window that doubles is what
        was there before. One that is not used builds no queue, so HyStart++ is not asked either."""
        return not limited and (2 * flight < self.cwnd or self.cwnd >= self.ssthresh)

    def _unused(self, now: float, flight: int) -> None:
        if flight > self._used:
            self._used = flight
        if self._full_at is None:
            self._full_at = now
        elif now - self._full_at >= self._srtt + _RTO_MARGIN_S:
            self._validate(after_limited(self.cwnd, self._used, self._restart_window))
            self._full_at, self._used = now, 0

    def on_idle(self, idle_s: float, rto: float) -> None:
        if idle_s > rto:
            self._validate(after_idle(self.cwnd, idle_s, rto, self._restart_window))
            self._full_at, self._used = None, 0

    def _validate(self, window: int) -> None:
        if window < self.cwnd:
            self.ssthresh = remembered(self.cwnd, self.ssthresh)
            self.cwnd = window
            self._saved = None
            self._new_stage()

    # -- congestion ---------------------------------------------------------------------------

    def _reduce(self, flight: int) -> None:
        """RFC 5681 (4), RFC 9438 4.6: `ssthresh` from FlightSize, at least two segments."""
        self._saved = (self.cwnd, self.ssthresh, self._hystart)
        self.ssthresh = max(round(flight * self.beta), 2 * self.mss)
        self._hystart = None
        self._new_stage()

    def on_congestion(self, flight: int, now: float) -> None:
        self._reduce(flight)
        self._phase = Phase.RECOVERY
        self.cwnd = min(self.ssthresh, max(self.cwnd, 2 * self.mss))

    def on_recovered(self, flight: int, now: float) -> None:
        self._full_at, self._used = now, 0
        if self._phase is Phase.RECOVERY:
            # RFC 6582 3.2 step 3, full acknowledgment, option 1: no burst of what has piled up.
            self.cwnd = min(self.ssthresh, max(flight, self.mss) + self.mss)
        self._phase = _OPEN

    def on_ecn(self, flight: int, now: float) -> None:
        self._reduce(flight)
        self._saved = None  # RFC 4015 3.4: what the network has marked is not taken back
        # RFC 9438 4.6: "reduction on ECE, cwnd >= 1 SMSS".
        self.cwnd = max(min(round(flight * self.beta), self.cwnd), self.mss)

    def on_timeout(self, flight: int, now: float, repeated: bool) -> None:
        if not repeated:  # RFC 5681 3.1: ssthresh is held constant for a repeated timeout
            self._reduce(flight)
        self.cwnd = self.mss  # the loss window LW
        self._phase = Phase.LOSS

    def undo(self, flight: int, now: float) -> None:
        # RFC 9438 4.9.2: what has grown beyond the old window meanwhile is more recent knowledge.
        if self._saved is not None and self.cwnd <= self._saved[0]:
            self.cwnd, self.ssthresh, self._hystart = self._saved
        self._saved, self._phase = None, _OPEN
        self._full_at, self._used = now, 0  # RFC 4015 3.5: the time that this took was not idle
