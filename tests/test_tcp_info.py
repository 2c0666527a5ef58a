"""What a connection tells of itself: TcpInfo, TCP_INFO, TCP_CONGESTION and their like."""

from __future__ import annotations

import dataclasses
import errno
import socket
import struct

import pytest

from aiotcp import Endpoint, Options
from aiotcp.sockets import StackSocket
from aiotcp.tcpinfo import CaState, TcpInfo, TcpOptions, TcpState, tcp_info
from aiotcp.wire.tcp import ACK, FIN, RST, SYN
from tests.support.conversation import App, Peer
from tests.support.kernelinfo import SIZE, unpacked

TCP, SOL = socket.IPPROTO_TCP, socket.SOL_SOCKET
SO_MAX_PACING_RATE, TCP_CC_INFO = 47, 26
UNLIMITED = 2**64 - 1


def socket_of(app: App) -> StackSocket:
    return StackSocket(app.conn.local, app.conn.remote, app.stack, app.conn)


def info_of(app: App) -> TcpInfo:
    """As the dataclass; that the packed form says the same is a condition of every test here."""
    info = tcp_info(app.conn, app.stack.clock())
    raw = socket_of(app).getsockopt(TCP, socket.TCP_INFO, 1000)
    assert len(raw) == SIZE == 280
    packed = unpacked(raw)
    for name, value in dataclasses.asdict(info).items():
        if name in ("cc", "cc_info", "undos"):
            continue
        if name == "delivery_rate_app_limited":
            assert packed["flags"] & 1 == value
        elif name in ("pacing_rate", "max_pacing_rate") and value is None:
            assert packed[name] == UNLIMITED
        else:
            assert packed[name] == value, name
    return info


def test_the_fields_of_the_kernel() -> None:
    """Its structure begins with ours, or ours with its."""
    with socket.socket() as kernel:
        raw = kernel.getsockopt(TCP, socket.TCP_INFO, 1000)
    assert unpacked(raw)["state"] == TcpState.CLOSE
    assert len(TcpInfo(state=TcpState.CLOSE).pack()) == SIZE
    if len(raw) <= SIZE:
        assert unpacked(raw).keys() <= unpacked(bytes(SIZE)).keys()


async def test_a_connection_at_rest() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000, wscale=7, ts=True, sack=True, window=64000)
        info = info_of(app)
        assert info.state is TcpState.ESTABLISHED
        assert info.ca_state is CaState.OPEN
        assert info.options == TcpOptions.TIMESTAMPS | TcpOptions.SACK | TcpOptions.WSCALE
        assert (info.snd_mss, info.advmss, info.pmtu) == (988, 1460, 1040)
        assert (info.snd_wscale, info.snd_wnd) == (7, 64000)
        assert info.rcv_wscale == app.conn.rcv_wscale
        assert info.snd_cwnd == 10
        assert info.snd_ssthresh == 2**31 - 1
        assert (info.cc, info.pacing_rate) == ("cubic", None)
        assert (info.unacked, info.bytes_acked, info.bytes_received) == (0, 0, 0)


async def test_what_passes_is_counted() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000)
        before = info_of(app)
        peer.sends(ACK, data=b"x" * 500)
        await peer.sees(ACK, ack=501, after=0.04)
        await peer.wait(2.5)
        app.write(b"y" * 2500)
        for size in (1000, 1000, 500):
            await peer.sees(ACK, data=b"y" * size)
        info = info_of(app)
        assert (info.unacked, info.bytes_sent, info.bytes_acked) == (3, 2500, 0)
        assert info.last_data_recv == pytest.approx(2540, abs=2)
        assert info.last_data_sent == 0
        peer.sends(ACK, ack=1001)
        await peer.wait(0.01)
        info = info_of(app)
        assert (info.unacked, info.bytes_acked, info.delivered) == (2, 1000, 1)
        assert (info.bytes_received, info.data_segs_in, info.rcv_mss) == (500, 1, 536)
        assert (info.data_segs_out, info.segs_out - before.segs_out) == (3, 4)
        assert info.segs_in - before.segs_in == 2
        peer.sends(ACK, ack=2501)


async def test_losses_and_timeouts_show() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000, sack=True)
        app.write(b"y" * 3000)
        for _ in range(3):
            await peer.sees(ACK, length=1000)
        peer.sends(ACK, ack=1, sack=[(1001, 3001)])
        info = info_of(app)
        assert (info.unacked, info.sacked) == (3, 2)
        await peer.sees(ACK, seq=1, data=b"y" * 1000, why="fast_retransmit")
        info = info_of(app)
        assert (info.retrans, info.total_retrans, info.bytes_retrans) == (1, 1, 1000)
        assert info.bytes_sent == 4000
        assert info.ca_state is CaState.RECOVERY
        await peer.sees(ACK, seq=1, data=b"y" * 1000, within=0.3)
        info = info_of(app)
        assert (info.retransmits, info.backoff, info.total_rto) == (1, 1, 1)
        assert info.ca_state is CaState.LOSS
        assert (info.snd_cwnd, info.total_retrans) == (1, 2)
        peer.sends(ACK, ack=3001, sack=[(1, 1001)])
        info = info_of(app)
        assert (info.dsack_dups, info.undos, info.unacked) == (1, 0, 0)  # the timeout was right


async def test_what_waits_and_what_came_ahead_of_its_turn() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000, window=1000, sack=True)
        app.write(b"y" * 1700)
        await peer.sees(ACK, data=b"y" * 1000)
        peer.sends(ACK, seq=101, data=b"x" * 100, ack=1)
        await peer.sees(ACK, ack=1, sack=[(101, 201)])
        info = info_of(app)
        assert (info.notsent_bytes, info.rcv_ooopack) == (700, 1)
        peer.sends(RST, seq=1)


async def test_states_to_the_end() -> None:
    async with Peer() as peer:
        app = peer.opens()
        assert info_of(app).state is TcpState.SYN_SENT
        await peer.sees(SYN)
        peer.sends(SYN | ACK, mss=1000)
        await peer.sees(ACK)
        app.conn.shutdown()
        app.stack.push(app.conn)
        await peer.sees(FIN | ACK)
        assert info_of(app).state is TcpState.FIN_WAIT1
        peer.sends(ACK)
        assert info_of(app).state is TcpState.FIN_WAIT2
        peer.sends(RST, seq=1)
        assert info_of(app).state is TcpState.CLOSE


async def test_a_listener_and_a_closed_socket() -> None:
    async with Peer() as peer:
        listener, _ = peer.listens(80, backlog=7, options=Options(cc="reno"))
        sock = StackSocket(listener.local, listener=listener)
        info = unpacked(sock.getsockopt(TCP, socket.TCP_INFO, SIZE))
        assert (info["state"], info["unacked"], info["sacked"]) == (TcpState.LISTEN, 0, 7)
        assert sock.getsockopt(TCP, socket.TCP_CONGESTION, 16) == b"reno".ljust(16, b"\0")
        peer.sends(SYN)
        await peer.sees(SYN | ACK)
        assert unpacked(sock.getsockopt(TCP, socket.TCP_INFO, SIZE))["unacked"] == 1
        sock.setsockopt(TCP, socket.TCP_CONGESTION, b"bbr")
        assert listener.options.cc == "bbr"
        peer.sends(RST, seq=1)
        listener.close()
    closed = StackSocket(Endpoint("192.0.2.2", 80))
    assert closed.getsockopt(TCP, socket.TCP_INFO, 1) == bytes([TcpState.CLOSE])
    assert closed.getsockopt(TCP, socket.TCP_INFO) == TcpState.CLOSE
    with pytest.raises(OSError, match="not available") as caught:
        closed.setsockopt(TCP, socket.TCP_INFO, b"x" * SIZE)
    assert caught.value.errno == errno.ENOPROTOOPT


async def test_the_congestion_control_of_a_live_connection() -> None:
    async with Peer() as peer:
        app = await peer.connects(mss=1000, sack=True)
        sock = socket_of(app)
        for sent in range(0, 8000, 2000):
            app.write(b"y" * 2000)
            await peer.sees(ACK, data=b"y" * 1000)
            await peer.sees(ACK, data=b"y" * 1000)
            await peer.wait(0.005)
            peer.sends(ACK, ack=sent + 2001)
        window = app.conn.cc.cwnd
        for name in ("reno", "bbr", "cubic", "bbr"):
            sock.setsockopt(TCP, socket.TCP_CONGESTION, name.encode())
            assert sock.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == name.encode()
            info = info_of(app)
            assert (info.cc, app.conn.cc.cwnd) == (name, window)
            assert (info.pacing_rate is not None) == (name == "bbr")
        app.write(b"y" * 1000)
        await peer.sees(ACK, data=b"y" * 1000)
        await peer.wait(0.005)
        peer.sends(ACK, ack=9001)
        low, high, min_rtt, *gains = struct.unpack("5I", sock.getsockopt(TCP, TCP_CC_INFO, 64))
        info = info_of(app)
        assert low + (high << 32) == int(info.cc_info["bw"]) > 0
        assert min_rtt == pytest.approx(5000, abs=50)
        assert gains == [round(info.cc_info[name] * 256) for name in ("pacing_gain", "cwnd_gain")]
        with pytest.raises(OSError, match="vegas") as caught:
            sock.setsockopt(TCP, socket.TCP_CONGESTION, b"vegas")
        assert caught.value.errno == errno.ENOENT


async def test_cc_info_of_others_is_empty() -> None:
    async with Peer() as peer:
        sock = socket_of(await peer.connects())
        assert sock.getsockopt(TCP, TCP_CC_INFO, 64) == b""


async def test_chosen_before_the_handshake_is_over() -> None:
    async with Peer() as peer:
        app = peer.opens()
        socket_of(app).setsockopt(TCP, socket.TCP_CONGESTION, b"bbr\0")
        assert info_of(app).cc == "bbr"
        await peer.sees(SYN)
        peer.sends(SYN | ACK)
        await peer.sees(ACK)
        assert app.conn.cc.name == "bbr"


async def test_the_pacing_rate() -> None:
    async with Peer() as peer:
        app = await peer.connects()
        sock = socket_of(app)
        assert sock.getsockopt(SOL, SO_MAX_PACING_RATE) == -1
        assert sock.getsockopt(SOL, SO_MAX_PACING_RATE, 8) == struct.pack("Q", UNLIMITED)
        sock.setsockopt(SOL, SO_MAX_PACING_RATE, 125_000)
        assert sock.getsockopt(SOL, SO_MAX_PACING_RATE) == 125_000
        info = info_of(app)
        assert (info.max_pacing_rate, info.pacing_rate) == (125_000, 125_000)
        sock.setsockopt(SOL, SO_MAX_PACING_RATE, struct.pack("Q", 2**33))
        assert sock.getsockopt(SOL, SO_MAX_PACING_RATE, 8) == struct.pack("Q", 2**33)
        assert sock.getsockopt(SOL, SO_MAX_PACING_RATE, 4) == struct.pack("I", 2**32 - 1)
        sock.setsockopt(SOL, SO_MAX_PACING_RATE, -1)
        assert app.conn.options.max_pacing_rate is None
        with pytest.raises(OSError, match="max_pacing_rate") as caught:
            sock.setsockopt(SOL, SO_MAX_PACING_RATE, 0)
        assert caught.value.errno == errno.EINVAL
