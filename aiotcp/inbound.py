"""Packets in: from a link to the connection, half-open entry or TIME-WAIT record that they are for.

Nearly every packet is one more of an established connection, and looks like the one before it
(`wire.usual`). Such a packet takes a short way: its fields are read in one go, one lookup finds the
connection, one condition says whether it is what was expected (`tcp.prediction`), and those that
directly follow it in the same batch are collected with hardly a look at the connection. All others
take the complete way, step by step, with the same results.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from aiotcp.addresses import LOOPED
from aiotcp.clock import clock_of
from aiotcp.link.base import receive_queue_packets, receive_waiting
from aiotcp.mypyc import mypyc_attr
from aiotcp.passive import PassiveOpens
from aiotcp.reasons import Drop, Event
from aiotcp.tcp import prediction, usualacks
from aiotcp.tcp.ackwait import may_wait
from aiotcp.tcp.connection import Connection
from aiotcp.tcp.halfopen import HalfOpen
from aiotcp.tcp.queueshare import ReceiveQueue
from aiotcp.tcp.seq import MASK
from aiotcp.tcp.timewait import TimeWait
from aiotcp.timers import TimerQueue
from aiotcp.wire import ipv4, ipv6, tcp, usual
from aiotcp.wire.malformed import Malformed

if TYPE_CHECKING:
    from aiotcp.tcp.icmp import IcmpNews
    from aiotcp.wire.alike import Run

# For each packet: a name of this module, not of another one.
_NEVER: Final = math.inf
_IPV4_BYTES: Final = usual.IPV4_BYTES
_IPV4_KIND: Final = usual.IPV4_KIND
_IPV6_BYTES: Final = usual.IPV6_BYTES
_PROTOCOL: Final = usual.PROTOCOL
_FLAGS: Final = usual.FLAGS
_ONLY_ACK: Final = usual.ONLY_ACK
_PSH: Final = usual.PSH
_TIMESTAMPS_FIRST: Final = usual.TIMESTAMPS_FIRST
_read_ipv4: Final = usual.ipv4
_read_ipv6: Final = usual.ipv6


@mypyc_attr(allow_interpreted_subclasses=True)
class Inbound(PassiveOpens):
    """An `Engine` that takes packets: the link's `Receiver`."""

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Live on `loop` from now on. Raises RuntimeError if that is another one already, or the
        stack is closed."""
        if self.closed:
            raise RuntimeError("the stack is closed")
        if self.bound:
            if self.loop is not loop:
                raise RuntimeError("the stack lives on another event loop")
            return
        self.loop = loop
        self.clock = clock_of(loop)
        self._timers = TimerQueue(loop, self._on_due, self.clock, receive_waiting(self.link))
        self.link.attach(self, loop)
        self._loopback.attach(self, loop)
        queue = receive_queue_packets(self.link)
        self._receive_queue = ReceiveQueue(queue) if queue is not None else None
        self.bound = True

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        """One packet of a batch; see `aiotcp.link.base.Receiver`. Raises nothing, whatever the
        packet holds: what can't be used counts under its `Drop`."""
        size = len(packet)
        start = 0  # of the text, in a packet of the usual form
        if size >= _IPV4_BYTES:
            first = packet[0]
            if first == 0x45:
                octets, protocol, key, seq, words, layout, stamps = _read_ipv4(packet)
                if octets == size and protocol & _IPV4_KIND == _PROTOCOL:
                    start = _IPV4_BYTES
            elif first >> 4 == 6 and size >= _IPV6_BYTES:
                octets, protocol, key, seq, words, layout, stamps = _read_ipv6(packet)
                if octets + 40 == size and protocol == _PROTOCOL:
                    start = _IPV6_BYTES
        train = self._train
        if start and layout == _TIMESTAMPS_FIRST:
            if not vouched:
                vouched = usual.right_checksums(packet, key)
            length = size - start
            if seq == train.seq and key == train.key and stamps == train.stamps and vouched:
                if length:
                    if (
                        words | _PSH == train.words
                        and gso_size == train.gso_size
                        and length <= train.longest
                        and len(train.pieces) < train.most
                    ):
                        train.pieces.append(packet[start:])
                        train.seq = (seq + length) & MASK
                        return
                elif (
                    words & _FLAGS == _ONLY_ACK
                    and (acks := train.acks) is not None
                    and prediction.take_again(acks, words)
                ):
                    counters = self.counters
                    counters.packets_received += 1
                    counters.bytes_received += size
                    return
            if vouched and words & _FLAGS == _ONLY_ACK:
                conn = self._table.get(key)
                if type(conn) is HalfOpen and not length:  # mostly the end of its handshake
                    if train.key:
                        self._end_train()
                    if not self._in_batch:
                        self._in_batch = True
                        self._now = self.clock()
                    if self._establish(conn, seq, words, stamps):
                        counters = self.counters
                        counters.packets_received += 1
                        counters.bytes_received += size
                        return
                elif type(conn) is Connection:
                    if train.pieces:
                        self._end_train()
                    train.key = b""
                    if not self._in_batch:
                        self._in_batch = True
                        self._now = self.clock()
                    now = self._now
                    if prediction.take(conn, seq, words, stamps, packet, start, gso_size, now):
                        counters = self.counters
                        counters.packets_received += 1
                        counters.bytes_received += size
                        only = not conn.touched  # so far in this batch
                        if only:
                            conn.touched = True
                            self._touched.append(conn)
                        if length:
                            # A packet that ends what the peer had to say is mostly the only one.
                            if gso_size or not (only and words & _PSH):
                                train.begin(
                                    conn, seq + length, words, stamps, gso_size, length, now
                                )
                        elif conn.acks_noted:
                            train.begin_acks(conn, seq, stamps)
                        return
            if vouched and not length and (words & _FLAGS | usual.FIN) == usual.FIN_ACK:
                if train.key:
                    self._end_train()
                if self._end(key, seq, words, stamps):
                    counters = self.counters
                    counters.packets_received += 1
                    counters.bytes_received += size
                    return
            if vouched and words & usual.LAYOUT == usual.PLAIN:
                if train.key:
                    self._end_train()
                flags, text = words >> 16 & usual.ALL_FLAGS, packet[start:] if length else b""
                segment = tcp.Segment(
                    seq, words >> 32, flags, words & 0xFFFF, 0, text, stamps >> 32, stamps & MASK
                )
                segment.gso_size = gso_size
                segment.ecn = (packet[1] if first == 0x45 else packet[1] >> 4) & 3
                if not self._in_batch:
                    self._in_batch = True
                    self._now = self.clock()
                counters = self.counters
                counters.packets_received += 1
                counters.bytes_received += size
                dropped = self._deliver(key, segment)
                if dropped is not None:
                    counters.dropped[dropped] += 1
                return
        if train.key:
            self._end_train()
        if (
            start
            and words & usual.HEADER == usual.SYN
            and stamps >> 32 == usual.SACK_AND_TIMESTAMPS
            and layout >> 16 == usual.MSS_OPTION
            and size == start + usual.SYN_BYTES
            and (vouched or usual.right_checksums(packet, key))
        ):
            (wscale,) = usual.syn_end(packet, start)
            if not self._in_batch:
                self._in_batch = True
                self._now = self.clock()
            if wscale >> 8 == usual.WSCALE_OPTION and self._open_usual(
                key, seq, layout & 0xFFFF, wscale & 0xFF, stamps & MASK
            ):
                counters = self.counters
                counters.packets_received += 1
                counters.bytes_received += size
                return
        self.receive_completely(packet, vouched, gso_size)

    def receive_run(self, run: Run) -> None:
        """As `link.base.receive_run` says."""
        self.receive(memoryview(run.first.to_bytes()), True)
        train = self._train
        if train.key and train.take_run(run):  # else the first one was not what was expected
            return
        for frame in run.frames()[1:]:
            self.receive(memoryview(frame.to_bytes()), True)

    def _end(self, key: bytes, seq: int, words: int, stamps: int) -> bool:
        """A segment of the usual form, without text, that is not one of many of an established
        connection: mostly a FIN, or the acknowledgment of ours. False: nothing has changed."""
        if not self._in_batch:
            self._in_batch = True
            self._now = self.clock()
        conn = self._table.get(key)
        if type(conn) is not Connection or not prediction.take_end(
            conn, seq, words, stamps, self._now
        ):
            return False
        self._touch(conn)
        return True

    def _end_train(self) -> None:
        """What comes next does not belong to it, or the batch is over."""
        train, counters = self._train, self.counters
        count = len(train.pieces) + train.merged
        header_bytes = usual.IPV4_BYTES if len(train.key) == 12 else usual.IPV6_BYTES
        counters.packets_received += count
        counters.bytes_received += count * header_bytes + train.end(self._now)

    def receive_completely(
        self, packet: memoryview, vouched: bool = False, gso_size: int = 0
    ) -> None:
        """As `receive`, by the complete way, whatever the packet."""
        if not self._in_batch:
            self._in_batch = True
            self._now = self.clock()
        counters = self.counters
        counters.packets_received += 1
        counters.bytes_received += len(packet)
        try:
            dropped = self._receive(packet, vouched, gso_size)
        except Malformed as malformed:
            dropped = malformed.reason
        if dropped is not None:
            counters.dropped[dropped] += 1

    def _receive(self, packet: memoryview, vouched: bool, gso_size: int) -> Drop | None:
        if not packet:
            return Drop.IP_EMPTY
        version = packet[0] >> 4
        if version == 4:
            protocol, offset, end = ipv4.parse(packet, vouched)
            addresses = slice(12, 20)
            ecn = packet[1] & 3
        elif version == 6:
            protocol, offset, end = ipv6.parse(packet, vouched)
            addresses = slice(8, 40)
            ecn = packet[1] >> 4 & 3
        else:
            return Drop.IP_VERSION
        if protocol != tcp.PROTOCOL:
            return self._receive_other(packet, protocol, offset, end, vouched)
        segment = tcp.parse(packet, offset, end)
        if not vouched and not tcp.verify_checksum(packet, offset, end):
            return Drop.TCP_CHECKSUM
        segment.gso_size = gso_size
        segment.ecn = ecn
        if offset == addresses.stop:
            key = bytes(packet[addresses.start : offset + 4])
        else:  # IP options or extension headers stand between
            key = bytes(packet[addresses]) + bytes(packet[offset : offset + 4])
        return self._deliver(key, segment)

    def _deliver(self, key: bytes, segment: tcp.Segment) -> Drop | None:
        """Give it to the entry of its 4-tuple."""
        entry = self._table.get(key)
        if entry is None or entry.ended:
            if entry is None and self._loopback.delivering:
                key += LOOPED
                entry = self._table.get(key)
            if entry is not None and entry.ended:
                # Earlier in this batch. Its last words go out with the others; the table is for
                # who comes next.
                self._retire(entry, self._now)
                entry = self._table.get(key)
            if entry is None:
                return self._unmatched(key, segment)
        if type(entry) is not Connection:
            if type(entry) is TimeWait and entry.accepts(segment) and self._reopen(entry, segment):
                return None
            if type(entry) is HalfOpen and entry.listener.closed:
                self._forget(entry)
                return self._unmatched(key, segment)
        if not entry.touched:
            entry.touched = True
            self._touched.append(entry)
        return entry.arrive(segment, self._now)

    def _receive_other(
        self, packet: memoryview, protocol: int, offset: int, end: int, vouched: bool
    ) -> Drop | None:
        host = self._icmp
        if host is None:
            from aiotcp.icmp import IcmpHost  # most stacks never see one of these

            limit = self._bucket(self.options.icmp_rate)
            host = self._icmp = IcmpHost(self.addresses, self.options.hop_limit, limit)
        transparent = self._transparent
        answer = host.receive(packet, protocol, offset, end, vouched, self._now, transparent)
        if answer.news is not None:
            return self._icmp_error(answer.key, answer.news)
        if answer.reply is not None:
            self._replies.append((self._shared_transmit, answer.reply))
        return answer.dropped

    def _icmp_error(self, key: bytes, news: IcmpNews) -> Drop | None:
        entry = self._table.get(key)
        if not isinstance(entry, Connection):
            return Drop.ICMP_NO_CONNECTION
        self._touch(entry)
        dropped = entry.on_icmp(news, self._now)
        if dropped is None:
            self.counters.events[Event.ICMP_ERROR] += 1
        return dropped

    # -- after a batch ------------------------------------------------------------------------

    def flush(self) -> int:
        """The batch is over: users look, everything that is due goes out, timers are set. How many
        bytes of it no user took."""
        train = self._train
        if train.pieces:
            self._end_train()
        train.key = b""
        train.acks = train.conn = None  # nobody is kept alive by having been the last
        touched = self._touched
        if len(touched) != 1 or self._accepted or self._turns.waits_since != _NEVER:
            return self._flush_many()
        conn = touched[0]
        if type(conn) is not Connection:
            return self._flush_many()
        # What mostly is left: one connection is all that the batch was for.
        self._touched = []
        conn.touched = False
        if conn.acks_noted:
            try:
                usualacks.settle(conn, self._now)
            except BaseException as exc:  # of a congestion control of the user's own
                self._user_failed(usualacks.settle, exc)
        self._in_batch = False
        user = conn.user
        if user is not None:
            try:
                user.progress()
            except BaseException as exc:
                self._user_failed(user.progress, exc)
        kept = conn.settle_batch() if conn.received else 0
        if conn is self._answering and conn.acks.due is None and not conn.ended:
            self._push_behind([conn])
        else:
            # The clock anew: what users did may have taken its time, and timers start here.
            try:
                self._finish(conn, self.clock())
            except BaseException as exc:  # as above
                self._user_failed(self._finish, exc)
        self._answering = None
        if self._replies:
            self._reply()
        return kept

    def _flush_many(self) -> int:
        """What is left of `flush`, whoever was touched."""
        kept = 0
        touched, turns = self._touched, self._turns
        self._touched = []
        clock = self.clock
        if turns.waits_since != _NEVER:
            turns.ends(clock())
        for entry in touched:
            entry.touched = False
            if type(entry) is Connection and entry.acks_noted:
                try:
                    usualacks.settle(entry, self._now)
                except BaseException as exc:  # as above
                    self._user_failed(usualacks.settle, exc)
        begun: list[Connection] = []
        if self._accepted:
            accepted, self._accepted = self._accepted, []
            for listener, conn in accepted:
                conn.touched = False
                if listener.closed:
                    conn.abort(discarded=True)
                else:
                    try:
                        self._listeners.accept(listener, conn)
                    except BaseException as exc:
                        self._user_failed(self._listeners.accept, exc)
                    if self._answering is conn:
                        begun.append(conn)
                        continue
                touched.append(conn)
            self._answering = None
        woken: list[Connection] = []
        self._in_batch = False
        for conn in begun:
            if conn.received:
                kept += conn.settle_batch()
            if conn.acks.due is None and conn.unsent <= 0 and not conn.ended:
                woken.append(conn)
                continue
            try:
                self._finish(conn, clock())
            except BaseException as exc:  # as above
                self._user_failed(self._finish, exc)
        last = touched[-1] if len(touched) > 1 else None
        for entry in touched:
            if type(entry) is Connection:
                user = entry.user
                if user is not None:
                    try:
                        user.progress()
                    except BaseException as exc:
                        self._user_failed(user.progress, exc)
                if entry.received:
                    kept += entry.settle_batch()
                if entry is last and may_wait(entry) and turns.begins(clock()):
                    entry.touched = True  # first of the next batch
                    self._touched.append(entry)
                    continue
                if entry is self._answering and entry.acks.due is None and not entry.ended:
                    woken.append(entry)
                    continue
            try:
                self._finish(entry, clock())
            except BaseException as exc:  # as above
                self._user_failed(self._finish, exc)
        self._answering = None
        if woken:
            self._push_behind(woken)
        if self._replies:
            self._reply()
        self._batches += 1
        if self._touched:
            self.loop.call_soon(self._await_batch, self._batches)
        return kept

    def _reply(self) -> None:
        """To packets that are for no connection."""
        replies, self._replies = self._replies, []
        for transmit, frame in replies:
            transmit(frame)

    def _await_batch(self, latest: int) -> None:
        """An acknowledgment waits for the batch after the `latest` one, if the next turn of the
        loop brings one."""
        if self._batches == latest:
            self.loop.call_soon(self._wait_no_more, latest)

    def _wait_no_more(self, latest: int) -> None:
        if self._batches == latest:
            self.flush()
