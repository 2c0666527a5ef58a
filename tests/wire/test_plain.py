"""`HeaderTemplate.plain` makes the frames that `frame` would make with the timestamps option."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiotcp.wire.tcp import ACK, PSH, HeaderTemplate, pack_timestamps

_numbers = st.integers(0, (1 << 40) - 1)
_segments = st.tuples(
    _numbers,
    _numbers,
    st.sampled_from((ACK, ACK | PSH)),
    st.integers(0, 0xFFFF),
    _numbers,
    _numbers,
    st.sampled_from((b"", b"x", b"xy", bytes(64), bytes(range(250)) * 4)),
    st.booleans(),
)
_changes = st.tuples(st.integers(1, 255), st.integers(0, 255))
_steps = st.lists(st.one_of(_segments, _segments, _changes), min_size=1, max_size=12)


@given(st.sampled_from((4, 16)), _steps)
def test_it_makes_the_frames_that_frame_makes(size: int, steps: list[tuple[int, ...]]) -> None:
    addresses = bytes(range(10, 10 + size)), bytes(range(60, 60 + size))
    plain = HeaderTemplate(addresses[0], 80, addresses[1], 50_000, hop_limit=64)
    frame = HeaderTemplate(addresses[0], 80, addresses[1], 50_000, hop_limit=64)
    for step in steps:
        if len(step) == 2:
            for template in (plain, frame):
                template.set_ip(hop_limit=step[0], traffic_class=step[1])
            continue
        seq, ack, flags, window, tsval, tsecr, text, offload = step
        assert isinstance(text, bytes)
        payload = (text,) if text else ()
        made = plain.plain(
            seq, ack, flags, window, tsval, tsecr, payload, len(text), bool(offload), "why"
        )
        expected = frame.frame(
            seq,
            ack,
            flags,
            window,
            options=pack_timestamps(tsval, tsecr),
            payload=payload,
            payload_length=len(text),
            offload=bool(offload),
            reason="why",
        )
        for name in ("checksum_start", "gso_size", "header", "length", "payload", "reason"):
            assert getattr(made, name) == getattr(expected, name), name
