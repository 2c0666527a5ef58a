"""What a recording tells of two stacks: numbers, fates, states, measurements."""

from __future__ import annotations

import json

from aiotcp import sim
from aiotcp.link.impair import Netem
from aiotcp.trace.events import Said, Sample, Segment, State, Trace
from aiotcp.trace.watch import Recording
from tests.support.watched import lose, transfer

MSS = 1448


def with_text(trace: Trace) -> list[Segment]:
    return [segment for segment in trace.segments if segment.length]


async def test_a_clean_transfer_has_relative_numbers_reasons_and_arrivals() -> None:
    trace = await transfer(1000)
    assert trace.hosts == ["client", "server"]
    (flow,) = trace.flows
    assert (flow.client, flow.client_port, flow.server, flow.server_port) == (
        *("client", 50000),
        *("server", 80),
    )
    told = [
        (s.at, s.sender, s.flags, s.seq, s.ack, s.length, s.why, s.fate, s.arrived)
        for s in trace.segments
    ]
    assert told == [
        (0.0, "client", "SYN", 0, None, 0, "open", "", [0.01]),
        (0.01, "server", "SYN,ACK", 0, 1, 0, "open_reply", "", [0.02]),
        (0.02, "client", "ACK", 1, 1, 0, "open_ack", "", [0.03]),
        (0.02, "client", "FIN,ACK", 1, 1, 1000, "new_data", "", [0.03]),
        (0.03, "server", "ACK", 1, 1002, 0, "ack_fin", "", [0.04]),
        (0.03, "server", "FIN,ACK", 1, 1002, 0, "close", "", [0.04]),
        (0.04, "client", "ACK", 1002, 2, 0, "ack_fin", "", [0.05]),
    ]


async def test_states_of_both_sides_and_what_programs_said_stand_in_order() -> None:
    trace = await transfer(1000)
    states = {
        host: [
            event.new
            for event in trace.events
            if isinstance(event, State) and event.host == host and event.flow == 0
        ]
        for host in trace.hosts
    }
    assert states == {
        "client": ["SYN-SENT", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT"],
        "server": ["SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"],
    }
    said = [(event.host, event.text) for event in trace.events if isinstance(event, Said)]
    assert said == [("client", "connected"), ("server", "read 1000 bytes and the end")]
    times = [event.at for event in trace.events]
    assert times == sorted(times)


async def test_a_lost_segment_is_crossed_out_and_its_repetition_known() -> None:
    trace = await transfer(20 * MSS, outbound=Netem(filter=lose(3)))
    (lost,) = [segment for segment in trace.segments if segment.fate]
    assert (lost.fate, lost.arrived, lost.seq, lost.why) == ("lost", [], 1 + 2 * MSS, "new_data")
    (again,) = [segment for segment in trace.segments if segment.again]
    assert (again.seq, again.why, again.fate) == (lost.seq, "fast_retransmit", "")
    assert any(option.startswith("sack=4345-") for s in trace.segments for option in s.options)


async def test_what_comes_twice_is_duplicated_and_what_was_overtaken_late() -> None:
    trace = await transfer(10 * MSS, outbound=Netem(duplicate=1.0))
    assert {segment.fate for segment in with_text(trace)} == {"duplicated"}
    assert {len(segment.arrived) for segment in with_text(trace)} == {2}


async def test_what_is_on_its_way_when_the_recording_ends_is_underway() -> None:
    recording = Recording()
    trace = await transfer(1000, recording=recording)
    assert not [segment for segment in trace.segments if segment.fate]
    segment = trace.segments[-1]
    segment.arrived.clear()
    segment.at = recording.now
    assert recording.finish().segments[-1].fate == "underway"


async def test_measurements_follow_the_connection() -> None:
    trace = await transfer(40 * MSS, outbound=Netem(filter=lose(3)))
    ours = [sample for sample in trace.samples if sample.host == "client"]
    first, last = ours[0], ours[-1]
    assert (first.state, first.srtt, first.rto, first.waits, first.until) == (
        *("SYN-SENT", None, 1.0),
        *("answer to our SYN", 1.0),
    )
    assert min(s.ssthresh for s in ours if s.ssthresh is not None) < max(s.cwnd for s in ours)
    assert max(s.in_flight for s in ours) >= 10 * MSS
    assert last.srtt is not None
    assert 0.02 <= last.srtt < 0.03
    assert len({(s.at, s.host, s.flow) for s in trace.samples}) == len(trace.samples)


async def test_the_bound_on_events_is_told() -> None:
    trace = await transfer(40 * MSS, recording=Recording(max_events=10))
    assert len(trace.events) == 10
    (note,) = trace.notes
    assert note.endswith("more events were left out")


async def test_a_trace_survives_json() -> None:
    trace = await transfer(20 * MSS, outbound=Netem(filter=lose(3)))
    trace.title, trace.seed, trace.replay = "a title", "7", "aiotcp run x --seed 7"
    again = Trace.from_json(json.loads(json.dumps(trace.to_json())))
    assert again == trace
    assert isinstance(again.samples[0], Sample)


def test_two_runs_give_one_trace() -> None:
    traces = [sim.run(transfer(50 * MSS, outbound=Netem(loss=0.1))) for _ in range(2)]
    assert traces[0].to_json() == traces[1].to_json()
