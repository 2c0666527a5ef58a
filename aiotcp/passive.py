"""What comes for no connection: resets (RFC 9293 3.10.7.1), and passive opens, from a SYN for a
listener to a connection (3.10.7.2, RFC 4987)."""

from __future__ import annotations

from typing import Final

from aiotcp.addresses import is_looped, is_unicast, split_flow
from aiotcp.engine import Engine
from aiotcp.halfopens import HalfOpens
from aiotcp.mypyc import mypyc_attr
from aiotcp.reasons import Drop, Why
from aiotcp.tcp import fastopen
from aiotcp.tcp.closed import reset_for
from aiotcp.tcp.connection import Connection
from aiotcp.tcp.fastopen import own_keys
from aiotcp.tcp.fastopen_setup import Accepted
from aiotcp.tcp.halfopen import HalfOpen
from aiotcp.tcp.isn import initial_numbers, timestamp_offset
from aiotcp.tcp.listener import Listener
from aiotcp.tcp.opening import complete, completes, read_offer, usual_offer
from aiotcp.tcp.seq import MASK, unwrap
from aiotcp.tcp.tcb import State
from aiotcp.tcp.timewait import TimeWait
from aiotcp.tcp.usual import begins_calm
from aiotcp.timers import Timed
from aiotcp.wire import tcp

_LISTEN: Final = State.LISTEN
_SYN_RECEIVED: Final = State.SYN_RECEIVED
_OLDER: Final = 1 << 31


@mypyc_attr(allow_interpreted_subclasses=True)
class PassiveOpens(Engine):
    """An `Engine` that answers strangers, and completes handshakes."""

    def _unmatched(self, key: bytes, segment: tcp.Segment) -> Drop | None:
        """A segment for no connection: LISTEN or CLOSED (RFC 9293 3.10.7.1, 3.10.7.2)."""
        local, local_port, remote, remote_port = split_flow(key)
        own = local in self.addresses
        if not own and not (self._listeners.transparent and is_unicast(local) and local != remote):
            return Drop.IP_NOT_FOR_US  # MUST-57: broadcast and multicast are not answered
        if not is_unicast(remote) or (remote in self.addresses and not is_looped(key)):
            return Drop.IP_BAD_SOURCE  # MUST-63
        if not local_port or not remote_port:
            return Drop.TCP_PORT_ZERO
        listener = self._listeners.find(local, local_port, key, own=own)
        if listener is not None:
            return self._listen(listener, key, segment)
        if not own:
            return Drop.IP_NOT_FOR_US
        return self._reset(key, segment, Why.RST_NO_CONNECTION) or Drop.TCP_NO_CONNECTION

    def _reset(self, key: bytes, segment: tcp.Segment, why: Why) -> Drop | None:
        """Answer with a RST. The reason if that may not be."""
        header = reset_for(segment)
        if header is None:
            return Drop.TCP_RST_NO_CONNECTION
        if not is_looped(key) and not self._resets.take(self._now):
            return Drop.TCP_RST_RATE_LIMIT
        frame = self._template(key, self.options).frame(
            *header,
            0,
            offload=self.link.checksum_offload,
            reason=why,
        )
        self._replies.append((self._way(key), frame))
        return None

    def _listen(self, listener: Listener, key: bytes, segment: tcp.Segment) -> Drop | None:
        """RFC 9293 3.10.7.2, and RFC 4987 3.6 where the backlog is full."""
        dropped = listener.screen(segment)
        if dropped is None or dropped is Drop.LISTEN_BACKLOG:
            if self._connections >= self.options.max_connections:
                return Drop.LISTEN_MAX_CONNECTIONS
            if dropped is None:
                self._half_open(listener, key, segment)
            elif listener.options.syn_cookies != "off":
                self._send_cookie(listener, key, segment)
                return None
        elif dropped is Drop.LISTEN_ACK:
            if self._now < listener.cookies_until:
                from aiotcp.tcp import stateless

                entry = stateless.redeem(
                    listener,
                    key,
                    self._path(key),
                    segment,
                    self._secret,
                    self._now,
                    ts_offset=timestamp_offset(self._secret, key),
                )
                if entry is not None:
                    return entry.arrive(segment, self._now)
                dropped = Drop.LISTEN_BAD_COOKIE
            return self._reset(key, segment, Why.RST_BAD_ACK) or dropped
        return dropped

    def _open_usual(self, key: bytes, irs: int, mss: int, wscale: int, tsval: int) -> bool:
        """A SYN whose options are the usual ones (`wire.usual`), and no others. True: it has a
        half-open entry now, as `_unmatched` would have made it. False: nothing has changed."""
        if key in self._table or self._connections >= self.options.max_connections:
            return False
        local, local_port, remote, remote_port = split_flow(key)
        addresses = self.addresses.packed
        if (
            local not in addresses
            or not local_port
            or not remote_port
            or not is_unicast(remote)
            or remote in addresses
        ):
            return False
        listener = self._listeners.find(local, local_port, key, own=True)
        if listener is None or listener.half_open >= listener.backlog:
            return False
        options = listener.options
        if options.syn_cookies == "always":
            return False
        iss, ts_offset = initial_numbers(self._secret, key, self._now)
        if self.initial_number is not None:
            iss = self.initial_number
        offer = usual_offer(mss, wscale, tsval, options)
        terms = listener.terms_on(self._path_on(self.link, key))
        entry = HalfOpen(listener, terms, key, offer, irs, iss, ts_offset)
        entry.usual = terms.usual_syn
        entry.template = tcp.HeaderTemplate(  # as `_template`
            local,
            local_port,
            remote,
            remote_port,
            options.hop_limit,
            options.traffic_class & 0xFC,
        )
        listener.half_open += 1
        self._table[key] = entry
        if self._observer is not None:  # no counter is told
            self._tell(key, _LISTEN, _SYN_RECEIVED)
        entry.touched = True
        self._touched.append(entry)
        return True

    def _send_cookie(self, listener: Listener, key: bytes, segment: tcp.Segment) -> None:
        from aiotcp.tcp import stateless  # for a flood

        frame = stateless.answer(
            listener,
            key,
            self._path(key),
            segment,
            self._secret,
            self._template(key, listener.options),
            self._now,
            ts_offset=timestamp_offset(self._secret, key),
        )
        self._replies.append((self._way(key), frame))

    def _half_open(
        self, listener: Listener, key: bytes, segment: tcp.Segment, above: int | None = None
    ) -> None:
        path = self._path(key)
        iss, ts_offset = self._initial_numbers(key, self._now)
        if above is not None:
            # MAY-2: "assigns its initial sequence number for the new connection to be larger
            # than the largest sequence number it used on the previous connection incarnation".
            iss = max(unwrap(iss, above), above + 1) & MASK
        entry = HalfOpen(
            listener,
            listener.terms_on(path),
            key,
            read_offer(segment, path, listener.options),
            segment.seq,
            iss,
            ts_offset,
        )
        if self._fast_open(entry, segment):
            return
        listener.half_open += 1
        self._table[key] = entry
        self._tell(key, _LISTEN, _SYN_RECEIVED)
        self._touch(entry)

    def _fast_open(self, entry: HalfOpen, segment: tcp.Segment) -> bool:
        """RFC 7413 4.2.2, "Server: Receiving SYN": True if a connection is made at once. If not,
        the SYN+ACK of the half-open entry acknowledges the SYN alone, perhaps with a new cookie."""
        listener, cookie = entry.listener, segment.fast_open
        if cookie is None or listener.options.tfo not in ("server", "on"):
            return False  # 4.2: "the server [...] MUST ignore all cookie options"
        if not listener.takes_fast_open(self._now):
            self.counters.fast_opens_overflowed += bool(cookie)
            return False
        keys = listener.options.tfo_keys() or own_keys(self._secret, self._now)
        local, _, remote, _ = split_flow(entry.flow)
        index = fastopen.check(keys, remote, local, cookie)
        if index != 0:
            entry.offer.cookie = fastopen.make(keys[0], remote, local)
        scarce = self.memory.pressure or self._connections >= self.options.max_connections
        if index is None or scarce:
            return False
        now = self._now
        conn = self._connection_of(entry, now)
        self._enter(conn)
        self._tell(entry.flow, State.LISTEN, State.SYN_RECEIVED)
        conn.open_fast(listener, entry.offer, segment, now)
        conn.on_state = self._on_fast_open_over
        listener.fast_open_pending += 1
        conn.touched = True  # as in `_connect`
        self._accepted.append((listener, conn))
        self.counters.connections_accepted += 1
        self.counters.fast_opens_accepted += 1
        return True

    def _on_fast_open_over(self, conn: Connection, old: State, new: State) -> None:
        """The connection has left SYN-RECEIVED."""
        assert isinstance(conn.fast_open, Accepted)
        reset = isinstance(conn.error, ConnectionResetError)
        conn.fast_open.listener.fast_open_over(self.clock(), reset=reset)
        conn.fast_open = None
        conn.on_state = self.on_state
        self.on_state(conn, old, new)

    def _promote(self, entry: HalfOpen, segment: tcp.Segment, now: float) -> Drop | None:
        """The handshake is complete: a connection takes the place of the half-open entry."""
        if self._connections >= self.options.max_connections:
            return Drop.LISTEN_MAX_CONNECTIONS  # the peer repeats it, and it may be its turn then
        conn = self._connect(entry, now)
        if completes(conn, segment, now):
            return None
        conn.begin()
        return conn.arrive(segment, now)

    def _establish(self, entry: HalfOpen, seq: int, words: int, stamps: int) -> bool:
        """The usual end of a handshake: an ACK alone, with timestamps; `words` and `stamps` as in
        `wire.usual`. False: nothing has changed, it is for `HalfOpen.arrive`."""
        offer = entry.offer
        if (
            offer.tsval is None
            or (stamps >> 32) - offer.tsval & MASK >= _OLDER
            or (seq - entry.irs) & MASK != 1
            or ((words >> 32) - entry.iss) & MASK != 1
            or offer.ecn
            or entry.ended
            or entry.listener.closed
            or self._connections >= self.options.max_connections
        ):
            return False
        now = self._now
        conn = self._connect(entry, now)
        complete(conn, words & 0xFFFF, stamps >> 32, now)
        conn.calm = begins_calm(conn)
        return True

    def _connect(self, entry: HalfOpen, now: float) -> Connection:
        """A connection takes the place of the half-open entry."""
        listener = entry.listener
        if entry.ended:
            self._tell(entry.flow, _LISTEN, _SYN_RECEIVED)
            self.counters.syn_cookies_accepted += 1
        else:
            entry.ended = True
            listener.half_open -= 1
        conn = self._connection_of(entry, now)
        self._disarm(entry)
        self._table[entry.flow] = conn
        self._connections += 1
        conn.open_passive(entry, now)
        conn.on_state = self.on_state
        conn.touched = True  # with the accepted: it has sent nothing that could be acknowledged
        self._accepted.append((listener, conn))
        self.counters.connections_accepted += 1
        return conn

    def _on_due(self, item: Timed, due: float) -> None:
        if isinstance(item, HalfOpens):
            while (entry := item.take_due(due)) is not None:
                super()._on_due(entry, due)
        else:
            super()._on_due(item, due)

    def _connection_of(self, entry: HalfOpen, now: float) -> Connection:
        template = entry.template or self._template(entry.flow, entry.options)
        return self._new_connection(
            entry.flow, entry.terms, template, entry.iss, entry.ts_offset, now
        )

    def _reopen(self, entry: TimeWait, segment: tcp.Segment) -> bool:
        """A SYN that TIME-WAIT lets through (RFC 6191 2, MAY-2), if anybody takes it."""
        local, local_port, _, _ = split_flow(entry.flow)
        own = local in self.addresses
        listener = self._listeners.find(local, local_port, entry.flow, own=own)
        if listener is None or listener.screen(segment) is not None:
            return False
        self._forget(entry)
        self._tell(entry.flow, State.TIME_WAIT, State.CLOSED)
        self._half_open(listener, entry.flow, segment, above=entry.snd_nxt)
        return True
