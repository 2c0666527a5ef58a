"""What a congestion control is told, with everything that a test does not care about filled in."""

from __future__ import annotations

from aiotcp.tcp.congestion import Ack, Phase, RateSample, Start, initial_window


def start(
    mss: int,
    segments: int = 10,
    *,
    syn_lost: bool = False,
    now: float = 0.0,
    rtt: float | None = None,
) -> Start:
    window = initial_window(mss, segments)
    return Start(
        mss=mss,
        initial_window=mss if syn_lost else window,
        restart_window=window,
        now=now,
        rtt=rtt,
        random=lambda: 0.5,
    )


def ack(
    acked: int,
    prior_flight: int,
    now: float = 0.0,
    *,
    flight: int | None = None,
    delivered: int = 0,
    lost: int = 0,
    rtt: float | None = None,
    rate: RateSample | None = None,
    phase: Phase = Phase.OPEN,
    cwnd_limited: bool = True,
    ece: bool = False,
) -> Ack:
    return Ack(
        now=now,
        acked=acked,
        lost=lost,
        delivered=delivered,
        prior_flight=prior_flight,
        flight=max(prior_flight - acked, 0) if flight is None else flight,
        rtt=rtt,
        rate=rate,
        phase=phase,
        cwnd_limited=cwnd_limited,
        ece=ece,
    )
