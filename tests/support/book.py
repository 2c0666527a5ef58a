"""The book that a `Tap` keeps of one conversation: what one end was told, and what it may say.

Sequence numbers are unwrapped to growing integers: a side's SYN is at its initial number. Only what
the tap saw counts, so that a stack can't be right by agreeing with itself.
"""

from __future__ import annotations

from aiotcp.reasons import Why
from aiotcp.tcp.seq import unwrap
from aiotcp.wire.tcp import ACK, FIN, PSH, RST, SYN, Segment
from tests.support.wirecheck import ECN_FLAGS, ecn_without_agreement

_LEAST_MSS = 48


def _tells_of_a_duplicate(blocks: list[tuple[int, int]], ack: int) -> bool:
    """RFC 2883 4: the first block is of what lies below the acknowledgment number, or within the
    second block."""
    left, right = blocks[0]
    if left < right <= ack:
        return True
    return len(blocks) > 1 and blocks[1][0] <= left < right <= blocks[1][1]


class Ranges:
    """Which sequence numbers arrived: disjoint ranges, sorted, the first one begins at `start`."""

    def __init__(self, start: int) -> None:
        self._ranges = [(start, start)]

    @property
    def contiguous_end(self) -> int:
        return self._ranges[0][1]

    def add(self, left: int, right: int) -> None:
        first_left, first_right = self._ranges[0]
        if left <= first_right and len(self._ranges) == 1:
            self._ranges[0] = (first_left, max(right, first_right))
            return
        merged: list[tuple[int, int]] = []
        for known in sorted((*self._ranges, (max(left, first_left), right))):
            if merged and known[0] <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], known[1]))
            else:
                merged.append(known)
        self._ranges = merged

    def cover(self, left: int, right: int) -> bool:
        return any(known[0] <= left and right <= known[1] for known in self._ranges)


class Book:
    """One end of one conversation. Each method returns the rules that were broken, as text."""

    def __init__(self, default_mss: int) -> None:
        self._default_mss = default_mss
        self._offers: dict[int, Segment] = {}
        """The peer's SYNs, by number."""
        self._batch_packets = 0
        self._batch_resets = 0
        self._batch_answers = 0
        self.packets_received = 0
        self.answers = 0
        """Segments without data, SYN, FIN or RST, window updates and keep-alives left out."""
        self.resets = 0
        self._begin(None)

    def _begin(self, syn: Segment | None) -> None:
        """A new connection of the end under test; `syn` is its own."""
        self.syn = syn
        self.offer: Segment | None = None
        self.nxt = self.una = syn.seq if syn is not None else 0
        self.fin: int | None = None
        self._probed = False
        self._asked = 0
        """The ECN flags of its SYNs."""
        self._ends_unpushed: set[int] = set()
        self._stream = bytearray()
        self._stream_start = self.nxt + 1
        self._edge = 0
        """The right edge of the window that the peer offered."""
        self._received: Ranges | None = None
        self._ack = 0
        self._own_edge = 0
        self._tsval = 0
        self._tsecr = 0
        self._peer_tsval = 0

    @property
    def rcv_nxt(self) -> int:
        """What may be acknowledged at most."""
        assert self._received is not None
        return self._received.contiguous_end

    # -- to the end under test ------------------------------------------------------------------

    def received(self, segment: Segment) -> None:
        if not self._batch_packets:
            self._batch_answers = 0
        self._batch_packets += 1
        self.packets_received += 1
        if segment.flags & RST:
            self._batch_resets += 1
            return
        if segment.flags & SYN:
            self._offers[segment.seq] = segment
            own = self.syn
            if own is not None and self.offer is None and not own.flags & ACK:
                answers = segment.ack == (own.seq + 1) & 0xFFFF_FFFF
                if answers or not segment.flags & ACK:
                    self._agree(segment)
        if self._received is None or not segment.flags & ACK:
            return
        seq = unwrap(segment.seq, self.rcv_nxt)
        self._received.add(seq, seq + segment.length)
        if segment.tsval is not None:
            self._peer_tsval = max(self._peer_tsval, unwrap(segment.tsval, self._peer_tsval))
        ack = unwrap(segment.ack, self.una)
        if ack <= self.nxt:
            self.una = max(self.una, ack)
            shift = 0 if segment.flags & SYN else self._shift_of(self.offer)
            self._edge = max(self._edge, ack + (segment.window << shift))

    def _agree(self, offer: Segment) -> None:
        self.offer = offer
        self._received = Ranges(offer.seq)
        self._received.add(offer.seq, offer.seq + 1)
        self._peer_tsval = offer.tsval or 0
        assert self.syn is not None
        self._ack = offer.seq + 1
        self._own_edge = offer.seq + 1 + self.syn.window  # a SYN's window is not scaled
        if not offer.flags & ACK:
            self._edge = self.una + 1 + offer.window

    def _shift_of(self, syn: Segment | None) -> int:
        if self.syn is None or self.offer is None or syn is None:
            return 0
        if self.syn.wscale is None or self.offer.wscale is None or syn.wscale is None:
            return 0
        return syn.wscale

    def end_of_batch(self) -> list[str]:
        faults = []
        if self._batch_answers > max(self._batch_packets, 1):
            faults.append(f"{self._batch_answers} answers to {self._batch_packets} packets (X-1)")
        self._batch_packets = self._batch_resets = 0
        return faults

    # -- from the end under test ----------------------------------------------------------------

    def sent(self, segment: Segment, options_length: int, reason: str) -> list[str]:
        faults: list[str] = []
        flags = segment.flags
        if flags & RST:
            self.resets += 1
            if self._batch_packets and self._batch_resets == self._batch_packets:
                faults.append("a RST in answer to a RST (X-1)")
            return faults
        if flags & SYN:
            return self._syn(segment)
        if not flags & ACK:
            faults.append("no ACK, SYN or RST")
        for name in ("mss", "wscale"):
            if getattr(segment, name) is not None:
                faults.append(f"{name} without SYN (MUST-65)")
        if segment.sack_permitted:
            faults.append("SACK permitted without SYN")
        if self.syn is None or self._received is None:
            faults.append("a segment before any handshake")
            return faults
        if not segment.length and reason not in (Why.WINDOW_UPDATE, Why.KEEPALIVE):
            self.answers += 1
            self._batch_answers += 1
        faults += self._acknowledgment(segment)
        faults += self._timestamps(segment)
        faults += self._sequence(segment, options_length, reason)
        return faults

    def _syn(self, segment: Segment) -> list[str]:
        faults = []
        if segment.mss is None:
            faults.append("a SYN without MSS (SHLD-5)")
        if self.syn is None or self.syn.seq != segment.seq:
            self._begin(segment)
            self.nxt += 1
        elif segment.flags & ACK:
            self.syn = segment  # crossed: the SYN+ACK says what both sides agreed on
        self._asked |= segment.flags & ECN_FLAGS
        if segment.flags & ACK:
            offer = self._offers.get((segment.ack - 1) & 0xFFFF_FFFF)
            if offer is None:
                faults.append("a SYN+ACK that answers no SYN")
            elif self.offer is None:
                self._agree(offer)
        return faults

    def _acknowledgment(self, segment: Segment) -> list[str]:
        assert self._received is not None
        faults = []
        ack = unwrap(segment.ack, self.rcv_nxt)
        if ack > self.rcv_nxt:
            faults.append(f"acknowledges {ack - self.rcv_nxt} bytes that never arrived")
        if ack < self._ack:
            faults.append("the acknowledgment number went back")
        shift = self._shift_of(self.syn)
        edge = ack + (segment.window << shift)
        # RFC 7323 2.4: an edge that the scale can't express may be off by less than one unit.
        if edge <= self._own_edge - (1 << shift):
            faults.append(f"the window's edge went back by {self._own_edge - edge} (SHLD-14)")
        self._ack = max(ack, self._ack)
        self._own_edge = max(edge, self._own_edge)
        blocks = [(unwrap(left, ack), unwrap(right, ack)) for left, right in segment.sack]
        if blocks and _tells_of_a_duplicate(blocks, ack):
            left, right = blocks.pop(0)
            if not self._received.cover(left, right):
                faults.append(f"a D-SACK block of what did not arrive: {left}-{right} at {ack}")
        for left, right in blocks:
            if not ack < left < right or not self._received.cover(left, right):
                faults.append(f"a SACK block of what did not arrive: {left}-{right} at {ack}")
        return faults

    def _timestamps(self, segment: Segment) -> list[str]:
        assert self.syn is not None
        assert self.offer is not None
        agreed = self.syn.tsval is not None and self.offer.tsval is not None
        if segment.tsval is None:
            return ["no timestamps, though negotiated (RFC 7323 3.2)"] if agreed else []
        if not agreed:
            return ["timestamps that were not negotiated"]
        faults = []
        tsval = unwrap(segment.tsval, self._tsval or segment.tsval)
        tsecr = unwrap(segment.tsecr, self._peer_tsval)
        if tsval < self._tsval:
            faults.append("TSval went back")
        if tsecr > self._peer_tsval or tsecr < self._tsecr:
            faults.append("TSecr is not TS.Recent of the peer")
        self._tsval, self._tsecr = tsval, max(tsecr, self._tsecr)
        return faults

    def _sequence(self, segment: Segment, options_length: int, reason: str) -> list[str]:
        faults: list[str] = []
        seq = unwrap(segment.seq, self.nxt)
        text_end = seq + len(segment.payload)
        end = text_end + (segment.flags & FIN)
        if seq > self.nxt:
            faults.append(f"{seq - self.nxt} sequence numbers were left out")
        elif end > self.nxt and seq < self.nxt and not self._probed:
            faults.append("new data that begins in what was sent before")
        if segment.flags & FIN:
            if self.fin is None:
                self.fin = text_end
                if text_end in self._ends_unpushed and text_end > self._first_byte:
                    faults.append("the last byte was sent without PSH (MUST-61)")
            elif self.fin != text_end:
                faults.append("a second FIN elsewhere in sequence space")
        if self.fin is not None and end > self.fin + 1:
            faults.append("data beyond our FIN")
        if not self._asked:
            faults += ecn_without_agreement(segment)
        if segment.ecn and (seq < self.nxt or reason == Why.WINDOW_PROBE):
            faults.append("a retransmission or a probe that is ECN-capable (3168-2)")
        if end > seq:
            faults += self._text(segment, seq, text_end, end, options_length, reason)
        self._probed = reason == Why.WINDOW_PROBE or (self._probed and end <= self.nxt)
        self.nxt = max(self.nxt, end)
        return faults

    @property
    def _first_byte(self) -> int:
        assert self.syn is not None
        return self.syn.seq + 1

    def _text(
        self,
        segment: Segment,
        seq: int,
        text_end: int,
        end: int,
        options_length: int,
        reason: str,
    ) -> list[str]:
        faults = []
        size = min(segment.gso_size or len(segment.payload), len(segment.payload))
        assert self.offer is not None
        mss = max(self.offer.mss or self._default_mss, _LEAST_MSS)
        if size + options_length > mss:
            faults.append(f"more than the peer's MSS of {mss} (MUST-16)")
        probe = reason == Why.WINDOW_PROBE
        if probe and end - seq != 1:
            faults.append("a window probe of more than one octet")
        if text_end > self._edge and not probe:
            faults.append(f"{text_end - self._edge} bytes beyond the peer's window")
        if end > self._edge and end > self.nxt and not probe:
            faults.append("a new FIN beyond the peer's window")
        # What was pushed once may come without PSH in a shorter piece, never the other way round.
        if text_end > seq:
            if segment.flags & PSH:
                self._ends_unpushed.discard(text_end)
            elif text_end == self.fin:
                faults.append("the last byte was sent without PSH (MUST-61)")
            elif text_end >= self.nxt:
                self._ends_unpushed = {text_end}
        if not self._says_the_same(seq, segment.payload):
            faults.append("other bytes than the first time under the same sequence numbers")
        return faults

    def _says_the_same(self, seq: int, payload: bytes | bytearray | memoryview) -> bool:
        """Compare with what was sent before, and remember what is new."""
        stream = self._stream
        if self.una - self._stream_start > 1 << 18:  # acknowledged: it won't be sent again
            del stream[: self.una - self._stream_start]
            self._stream_start = self.una
        at = seq - self._stream_start
        if at < 0:
            payload, at = payload[-at:], 0
        known = len(stream) - at
        same = stream[at : at + len(payload)] == payload[: max(known, 0)]
        if known < len(payload):
            stream += payload[max(known, 0) :]
        return same

    def at_the_end(self) -> list[str]:
        if self.answers > self.packets_received:
            return [f"{self.answers} answers to {self.packets_received} packets (X-1)"]
        return []
