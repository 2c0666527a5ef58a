"""TCP Fast Open, the server: cookies, and programs at work before the handshake (RFC 7413)."""

from __future__ import annotations

import pytest

from aiotcp.options import Options
from aiotcp.tcp.fastopen import PERIOD_S, check, make, own_keys
from aiotcp.wire import tcp
from aiotcp.wire.tcp import ACK, CWR, ECE, PSH, RST, SYN
from tests.support.conversation import Peer
from tests.support.fastopen import SERVES, cookie_for, fast_opened

CLIENT, SERVER = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
KEY, OTHER = bytes(range(16)), bytes(range(16, 32))

# -- cookies ----------------------------------------------------------------------------------


@pytest.mark.req("7413-3")
@pytest.mark.parametrize("width", [4, 16])
def test_a_cookie_is_bound_to_its_key_and_to_both_addresses(width: int) -> None:
    client, server = bytes(width), bytes([9]) * width
    cookie = make(KEY, client, server)
    assert 4 <= len(cookie) <= 16
    assert check((KEY,), client, server, cookie) == 0
    assert check((OTHER, KEY), client, server, cookie) == 1
    assert check((OTHER,), client, server, cookie) is None
    assert check((KEY,), server, client, cookie) is None
    assert check((KEY,), bytes([1]) * width, server, cookie) is None
    assert check((KEY,), client, server, b"") is None
    assert check((KEY,), client, server, cookie[:6]) is None
    assert check((KEY,), client, server, cookie + b"\0\0") is None


@pytest.mark.req("7413-3")
def test_own_keys_last_for_two_periods() -> None:
    """RFC 7413 4.1.2, 5: "The cookie expires after a certain amount of time"."""
    cookie = make(own_keys(KEY, 5 * PERIOD_S)[0], CLIENT, SERVER)
    for later, index in ((0, 0), (0.99, 0), (1, 1), (1.99, 1), (2, None), (-0.01, None)):
        keys = own_keys(KEY, (5 + later) * PERIOD_S)
        assert check(keys, CLIENT, SERVER, cookie) == index
    assert own_keys(OTHER, 5 * PERIOD_S) != own_keys(KEY, 5 * PERIOD_S)


def test_keys_may_be_given() -> None:
    assert Options().tfo_keys() == ()
    assert Options(tfo_key=KEY.hex()).tfo_keys() == (KEY,)
    assert Options(tfo_key=KEY.hex("-", 4)).tfo_keys() == (KEY,)
    assert Options(tfo_key=f"{KEY.hex()},{OTHER.hex()}").tfo_keys() == (KEY, OTHER)
    for wrong in ("", KEY.hex()[2:], KEY.hex() + "00", "x" * 32, ",".join([KEY.hex()] * 3)):
        with pytest.raises(ValueError, match="tfo_key"):
            Options(tfo_key=wrong)
    with pytest.raises(ValueError, match="tfo must be"):
        Options(tfo="yes")


# -- conversations ----------------------------------------------------------------------------


@pytest.mark.req("7413-5")
@pytest.mark.parametrize("tfo", ["off", "client"])
@pytest.mark.parametrize("cookie", [b"", bytes(8)])
async def test_it_is_off_by_default(tfo: str, cookie: bytes) -> None:
    """4.2: "When this flag is off, the server [...] MUST ignore all cookie options"."""
    assert Options().tfo == "off"
    async with Peer() as peer:
        _, accepted = peer.listens(options=Options(tfo=tfo))
        peer.sends(SYN, data=b"hello", fast_open=cookie)
        assert (await peer.sees(SYN | ACK, ack=1)).segment.fast_open is None
        peer.sends(ACK, seq=1, data=b"hello")
        await peer.sees(ACK, ack=6, within=0.1)
        assert accepted[0].received == b"hello"


@pytest.mark.req("7413-3")
@pytest.mark.parametrize("ipv6", [False, True])
async def test_data_with_a_valid_cookie_is_delivered_and_answered_before_the_handshake(
    ipv6: bool,
) -> None:
    async with Peer(ipv6=ipv6) as peer:
        app, accepted, synack = await fast_opened(peer)
        assert synack.segment.fast_open is None
        assert app.received == b"hello"
        assert (peer.state, app.state) == ("SYN-RECEIVED", "SYN-RECEIVED")
        app.write(b"welcome")
        await peer.sees(ACK, seq=1, ack=6, data=b"welcome", why="new_data")
        app.write(b"!")
        await peer.sees(ACK, seq=8, ack=6, data=b"!")
        peer.sends(ACK)
        assert peer.states == ["LISTEN", "SYN-RECEIVED", "ESTABLISHED"]
        assert app.conn.fast_open_data
        peer.sends(ACK | PSH, data=b"more")
        await peer.sees(ACK, ack=10, within=0.1)
        assert app.received == b"hellomore"
        assert len(accepted) == 1
        assert peer.stack.counters.fast_opens_accepted == 1
        assert peer.stack.counters.connections_accepted == 1


@pytest.mark.req("7413-3")
async def test_a_valid_cookie_without_data_lets_the_server_speak_first() -> None:
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer, b"")
        app.write(b"220 hello")
        await peer.sees(ACK, seq=1, ack=1, data=b"220 hello")
        peer.sends(ACK)
        assert app.state == "ESTABLISHED"


@pytest.mark.req("7413-3")
async def test_early_data_keeps_to_the_initial_window() -> None:
    """4.2.2, 6: "the server MUST follow [RFC5681] [...] to set the initial congestion window"."""
    async with Peer() as peer:
        app, _, _ = await fast_opened(peer)
        app.write(bytes(100_000))
        sent = await peer.sees_all()
        assert [len(each.payload) for each in sent] == [1460] * 10
        peer.sends(ACK, ack=1 + 2 * 1460)
        assert [len(each.payload) for each in await peer.sees_all()] == [1460] * 4
        assert app.state == "ESTABLISHED"


async def test_early_data_keeps_to_the_window_of_the_syn() -> None:
    async with Peer() as peer:
        peer.window = 2000
        app, _, _ = await fast_opened(peer)
        app.write(bytes(100_000))
        sent = await peer.sees_all()
        assert sum(len(each.payload) for each in sent) <= 2000


@pytest.mark.req("7413-3")
@pytest.mark.parametrize("cookie", [bytes(8), bytes(4), bytes(16)])
async def test_an_invalid_cookie_costs_the_data_and_brings_a_new_one(cookie: bytes) -> None:
    """4.2.2, 5: "Otherwise, it acknowledges only the SYN sequence"."""
    async with Peer() as peer:
        _, accepted = peer.listens(options=SERVES)
        peer.sends(SYN, data=b"hello", fast_open=cookie)
        synack = await peer.sees(SYN | ACK, seq=0, ack=1)
        assert synack.segment.fast_open == await cookie_for(peer)
        assert not accepted
        peer.sends(ACK, seq=1, data=b"hello")
        await peer.sees(ACK, ack=6, within=0.1)
        assert accepted[0].received == b"hello"
        assert not accepted[0].conn.fast_open_data


@pytest.mark.req("7413-3")
async def test_a_cookie_is_of_no_use_at_another_address() -> None:
    async with Peer() as peer:
        peer.listens(options=SERVES)
        cookie = await cookie_for(peer)
        other = peer.another(host="192.0.2.99")
        other.sends(SYN, data=b"hello", fast_open=cookie)
        await other.sees(SYN | ACK, ack=1)
        other.sends(RST, seq=1)


@pytest.mark.req("7413-3")
async def test_keys_can_be_rotated() -> None:
    """4.1.2: "the server can implement key rotation to generate and verify cookies using multiple
    keys"; the second only checks, and its bearer gets a new cookie."""
    async with Peer() as peer:
        listener, accepted = peer.listens(options=SERVES.replace(tfo_key=KEY.hex()))
        old = await cookie_for(peer)
        assert old == make(KEY, CLIENT, SERVER)
        listener.configure(tfo_key=f"{OTHER.hex()},{KEY.hex()}")
        peer.sends(SYN, data=b"hello", fast_open=old)
        synack = await peer.sees(SYN | ACK, ack=6)
        assert synack.segment.fast_open == make(OTHER, CLIENT, SERVER)
        assert accepted[0].received == b"hello"
        peer.sends(ACK)
        listener.configure(tfo_key=OTHER.hex())
        late = peer.another()
        late.sends(SYN, data=b"hello", fast_open=old)
        await late.sees(SYN | ACK, ack=1)
        late.sends(RST, seq=1)


async def test_a_small_receive_buffer_trims_the_data() -> None:
    async with Peer() as peer:
        _, accepted = peer.listens(options=SERVES.replace(receive_buffer=300))
        cookie = await cookie_for(peer)
        peer.sends(SYN, mss=1460, data=bytes(500), fast_open=cookie)
        await peer.sees(SYN | ACK, ack=301, window=0)
        assert accepted[0].received == bytes(300)
        await peer.sees(ACK, ack=301, window=300, why="window_update", within=0)


# -- option space -------------------------------------------------------------------------------


@pytest.mark.req("7413-1")
async def test_where_there_is_no_room_the_cookie_comes_first() -> None:
    async with Peer() as peer:
        peer.listens(options=SERVES.replace(uto=True, ecn="accurate"))
        peer.sends(
            SYN | ECE | CWR | tcp.AE,
            mss=1460,
            wscale=7,
            sack_permitted=True,
            ts=(peer.tsval, 0),
            fast_open=b"",
        )
        synack = await peer.sees(SYN | ACK | CWR)
        assert len(synack.options) <= 40
        segment = synack.segment
        assert segment.fast_open
        assert (segment.mss, segment.sack_permitted, segment.wscale is None) == (1460, True, False)
        assert segment.tsval is not None
        assert segment.accecn is None
        assert segment.user_timeout == 300
        peer.sends(RST, seq=1)


@pytest.mark.req("7413-3")
async def test_a_cookie_that_may_have_cost_the_syn_ack_is_left_out_of_the_next() -> None:
    """4.2.1: "We RECOMMEND both the client and the server to retransmit SYN and SYN-ACK packets
    without the cookie options on timeouts"."""
    async with Peer() as peer:
        peer.listens(options=SERVES)
        peer.sends(SYN, fast_open=b"")
        assert (await peer.sees(SYN | ACK)).segment.fast_open
        assert (await peer.sees(SYN | ACK, after=1)).segment.fast_open is None
        peer.sends(RST, seq=1)


async def test_a_client_that_gave_its_request_up_is_not_sent_a_cookie() -> None:
    async with Peer() as peer:
        peer.listens(options=SERVES)
        peer.sends(SYN, fast_open=b"")
        assert (await peer.sees(SYN | ACK)).segment.fast_open
        peer.sends(SYN, seq=0)
        assert (await peer.sees(SYN | ACK)).segment.fast_open is None
        peer.sends(RST, seq=1)
