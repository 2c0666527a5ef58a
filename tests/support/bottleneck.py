"""A path with one bottleneck, packet by packet, that drives congestion controls without a stack.

    path = Path(rate=100e6, delay=0.02, buffer=250_000, loss=0.01, seed=1)
    flow = path.flow(BBR)
    path.run(5.0)                    # until then; may be called again and again
    flow.delivered, flow.cc.cwnd, path.dropped

Packets are repeated as QUIC does: each has a number of its own, and is lost when three later ones
were acknowledged, or when nothing is for a timeout. So there is no ambiguity, and what a flow
achieves is what its control made of the signals. Everything follows from the arguments and the
seed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

from aiotcp.tcp.congestion import Ack, CongestionControl, Lost, Phase, Start, initial_window
from aiotcp.tcp.delivery import DeliveryRate, Stamp

HEADERS = 52
"""Bytes of IPv4 and TCP headers with timestamps, which a packet has on the bottleneck."""


class Packet:
    __slots__ = ("acked", "lost", "marked", "number", "size", "stamp")

    def __init__(self, number: int, size: int, stamp: Stamp) -> None:
        self.number = number
        self.size = size
        self.stamp = stamp
        self.acked = self.lost = self.marked = False


class Path:
    """A FIFO queue of `buffer` bytes in front of a link of `rate` bits per second, which may be
    changed at any time; `delay` seconds each way; `loss`, the probability that a packet vanishes
    behind the queue. `mark_above`: with more bytes than that in the queue, packets are marked
    (ECN)."""

    def __init__(
        self,
        *,
        rate: float,
        delay: float,
        buffer: float,
        loss: float = 0.0,
        mark_above: float = float("inf"),
        seed: int = 0,
    ) -> None:
        self.rate = rate
        self.delay = delay
        self.buffer = buffer
        self.loss = loss
        self.mark_above = mark_above
        self.now = 0.0
        self.idle = 0.0
        """Seconds in which the link had nothing to send."""
        self.dropped = 0
        self.lost = 0
        self.random = random.Random(seed)
        self._busy_until = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def bdp(self) -> float:
        """Bytes on the wire that fill the path without a queue."""
        return self.rate / 8 * 2 * self.delay

    @property
    def queue(self) -> float:
        """Bytes that wait."""
        return max(self._busy_until - self.now, 0.0) * self.rate / 8

    def flow(self, control: Callable[[Start], CongestionControl], **settings: float) -> Flow:
        """A flow that starts now. `settings`: those of `Flow`."""
        return Flow(self, control, **settings)

    def at(self, when: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, call))

    def run(self, until: float) -> None:
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, call = heapq.heappop(events)
            call()
        self.now = until

    def enter(self, packet: Packet) -> float | None:
        """When `packet` arrives at the receiver; None: never."""
        queue = self.queue
        size = packet.size + HEADERS
        if queue + size > self.buffer:
            self.dropped += 1
            return None
        packet.marked = queue > self.mark_above
        if self._busy_until < self.now:
            self.idle += self.now - self._busy_until
            self._busy_until = self.now
        self._busy_until += size * 8 / self.rate
        if self.loss and self.random.random() < self.loss:
            self.lost += 1
            return None
        return self._busy_until + self.delay


class Flow:
    """One sender and its receiver.

    mss: payload of each packet.
    every: an acknowledgment for so many packets, or after 25 ms.
    tick: seconds; pacing wakes at multiples of it only, as timers of event loops do.
    supply: bytes per second that the application has to send.
    """

    def __init__(
        self,
        path: Path,
        control: Callable[[Start], CongestionControl],
        *,
        mss: float = 1448,
        every: float = 2,
        tick: float = 0.0,
        supply: float = float("inf"),
    ) -> None:
        self.path = path
        self.mss = int(mss)
        self.every = int(every)
        self.tick = tick
        self.supply = supply
        self.flight = 0
        self.min_rtt = self.srtt = 2 * path.delay
        self.phase = Phase.OPEN
        self.timeouts = 0
        self.random = random.Random(path.random.random())
        window = initial_window(self.mss, 10)
        now = path.now
        self.cc = control(
            Start(self.mss, window, window, now, self.min_rtt, random=self.random.random)
        )
        self.rate = DeliveryRate(now)
        self.trace: Callable[[Ack], None] | None = None
        """Called after the control, with what it was told."""
        self._started = now
        self._sent = 0
        self._next_number = 0
        self._largest = -1
        self._recovery_until = -1
        self._ecn_until = -1
        self._limited_until = -1
        self._outstanding: deque[Packet] = deque()
        self._next_send = now
        self._woken_at = -1.0
        self._arrived: list[Packet] = []
        self._last_ack = now
        self._timer = False
        path.at(now, self._send)

    @property
    def delivered(self) -> int:
        """Payload bytes acknowledged."""
        return self.rate.delivered

    def limit(self, supply: float) -> None:
        """From now on the application has `supply` bytes per second."""
        self.supply = supply
        self._started = self.path.now
        self._sent = 0
        self.path.at(self.path.now, self._send)

    # -- sending -------------------------------------------------------------------------------

    def _available(self) -> float:
        if self.supply == float("inf"):
            return self.supply
        return self.supply * (self.path.now - self._started) - self._sent

    def _send(self) -> None:
        now = self.path.now
        cc, mss = self.cc, self.mss
        paced = cc.pacing_rate is not None
        quantum = cc.send_quantum if paced else 1 << 62
        while True:
            if self.flight + mss > cc.cwnd:
                self._limited_until = self.rate.delivered + self.flight
                return
            if self._available() < mss:
                self.rate.mark_app_limited(self.flight)
                self._wake(now + (mss - self._available()) / self.supply + 1e-6)
                return
            if paced and now < self._next_send:
                self._wake(self._next_send)
                return
            cc.on_send(now, self.flight, self.rate.app_limited_until != 0)
            burst = 0
            while (
                burst + mss <= max(quantum, mss)
                and self.flight + mss <= cc.cwnd
                and self._available() >= mss
            ):
                self._transmit(now)
                burst += mss
            if cc.pacing_rate is not None:
                # A timer that came late is made up for, by what one tick would have let out.
                due = max(self._next_send, now - self.tick)
                self._next_send = due + burst / cc.pacing_rate

    def _wake(self, when: float) -> None:
        if self.tick:
            when = (when // self.tick + 1) * self.tick
        if self._woken_at != when:
            self._woken_at = when
            self.path.at(when, lambda: self._send() if self._woken_at == when else None)

    def _transmit(self, now: float) -> None:
        packet = Packet(self._next_number, self.mss, self.rate.on_sent(now, self.flight, self.mss))
        self._next_number += 1
        self._sent += self.mss
        self.flight += self.mss
        self._outstanding.append(packet)
        arrival = self.path.enter(packet)
        if arrival is not None:
            self.path.at(arrival, lambda: self._arrive(packet))
        if not self._timer:
            self._last_ack = now
            self._watch()

    # -- receiving -----------------------------------------------------------------------------

    def _arrive(self, packet: Packet) -> None:
        self._arrived.append(packet)
        if len(self._arrived) >= self.every:
            self._acknowledge()
        elif len(self._arrived) == 1:
            self.path.at(
                self.path.now + 0.025,
                lambda: self._acknowledge() if packet in self._arrived else None,
            )

    def _acknowledge(self) -> None:
        packets, self._arrived = self._arrived, []
        self.path.at(self.path.now + self.path.delay, lambda: self._acked(packets))

    # -- acknowledgments -----------------------------------------------------------------------

    def _acked(self, packets: list[Packet]) -> None:
        now, cc, rate = self.path.now, self.cc, self.rate
        self._last_ack = now
        prior_flight = self.flight
        acked = 0
        ece = False
        for packet in packets:
            packet.acked = True
            acked += packet.size
            ece = ece or packet.marked
            if packet.lost:
                rate.on_found(packet.size)
            else:
                self.flight -= packet.size
            rate.on_delivered(packet.stamp, packet.number, packet.size, now)
            self._largest = max(self._largest, packet.number)
        rtt = now - packets[-1].stamp.sent_at
        self.min_rtt = min(self.min_rtt, rtt)
        self.srtt += (rtt - self.srtt) / 8
        lost = self._detect(self._largest - 3)
        if self.phase is not Phase.OPEN and self._done_until(self._recovery_until):
            self.phase = Phase.OPEN
            cc.on_recovered(self.flight, now)
        if ece and self._largest > self._ecn_until:
            self._ecn_until = self._next_number
            cc.on_ecn(self.flight, now)
        told = Ack(
            now=now,
            acked=acked,
            lost=lost,
            delivered=rate.delivered,
            prior_flight=prior_flight,
            flight=self.flight,
            rtt=rtt,
            rate=rate.sample(now, self.min_rtt),
            phase=self.phase,
            cwnd_limited=rate.delivered <= self._limited_until,
            ece=ece,
        )
        cc.on_ack(told)
        if self.trace is not None:
            self.trace(told)
        self._send()

    def _detect(self, until: int) -> int:
        """Believe lost what is numbered up to `until` and was not acknowledged."""
        cc, rate = self.cc, self.rate
        lost = 0
        outstanding = self._outstanding
        while outstanding and (outstanding[0].acked or outstanding[0].number <= until):
            packet = outstanding.popleft()
            if packet.acked:
                continue
            packet.lost = True
            lost += packet.size
            self.flight -= packet.size
            rate.on_lost(packet.size)
            stamp = packet.stamp
            cc.on_packet_lost(
                Lost(
                    now=self.path.now,
                    size=packet.size,
                    tx_in_flight=stamp.in_flight,
                    lost=rate.lost - stamp.lost,
                    app_limited=stamp.app_limited,
                    delivered=rate.delivered,
                )
            )
            if self.phase is Phase.OPEN and packet.number > self._recovery_until:
                self.phase = Phase.RECOVERY
                self._recovery_until = self._next_number - 1
                cc.on_congestion(self.flight + packet.size, self.path.now)
        return lost

    def _done_until(self, number: int) -> bool:
        return not self._outstanding or self._outstanding[0].number > number

    # -- the timeout ---------------------------------------------------------------------------

    def _watch(self) -> None:
        self._timer = bool(self._outstanding)
        if not self._timer:
            return
        due = self._last_ack + max(0.2, 2 * self.srtt)
        if self.path.now < due:
            self.path.at(due, self._watch)
            return
        flight = self.flight
        self.timeouts += 1
        self._last_ack = self.path.now
        self.phase = Phase.LOSS
        self._recovery_until = self._next_number - 1
        self._detect(self._recovery_until)
        self.cc.on_timeout(flight, self.path.now, False)
        self._next_send = self.path.now
        self._send()
        self.path.at(self.path.now + max(0.2, 2 * self.srtt), self._watch)
        self._timer = True
