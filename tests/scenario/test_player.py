"""Scenarios played: programs, faults, hosts that crash, and what is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiotcp.scenario.model import BadScenario, Scenario, load
from aiotcp.scenario.player import judge, play
from aiotcp.trace.story import story
from tests.support.chinese import left_in_english

HEAD = """
group = "data"
link = "delay 10ms"
[title]
en = "A title"
zh = "题目"
[question]
en = "Why?"
zh = "为什么？"
[answer]
en = "So."
zh = "因此。"
[hosts.client]
receive_buffer = 65535
timestamps = false
[hosts.server]
receive_buffer = 65535
timestamps = false
"""
CONNECT = """
0  server  listens on 80
0  client  connects to server:80 from 50000
"""


def made(
    tmp_path: Path, script: str, sees: str = "", rest: str = "until = 5\nsince = 1"
) -> Scenario:
    path = tmp_path / "made.toml"
    path.write_text(
        f"{HEAD}\n[story]\n{rest}\nscript = '''{CONNECT}{script}'''\nsees = '''{sees}'''"
    )
    return load(path)


def told(scenario: Scenario, kinds: str = "!=>#") -> list[str]:
    trace = play(scenario)
    assert left_in_english(trace) == []
    lines = [" ".join(line.split()) for line in story(trace)]
    return [line for line in lines if float(line.split()[0]) >= 1 and line.split()[2] in kinds]


def test_programs_write_read_and_close(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        1    server  reads 5 bytes
        1    client  writes "hello"
        1.1  client  writes 3000 bytes and waits until it may write more
        1.1  server  reads 3000 bytes
        1.2  client  says that it writes no more
        1.2  server  reads to the end
        1.3  server  writes "bye"
        1.3  client  reads
        1.3  client  reads
        1.4  server  closes
        """,
    )
    assert told(scenario, "!") == [
        "1.010 server ! read b'hello'",
        "1.100 client ! may write more",
        "1.110 server ! read 3000 bytes",
        "1.210 server ! read the end",
        "1.310 client ! read b'bye'",
        "1.410 client ! read the end",
    ]


def test_reading_that_stops_and_goes_on(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        1    server  reads whatever comes
        1    client  writes "one"
        2    server  stops reading
        2    client  writes "two"
        3    server  goes on reading
        4    client  closes
        """,
    )
    assert told(scenario, "!") == [
        "1.010 server ! read b'one'",
        "3.000 server ! read b'two'",
        "4.010 server ! read the end",
    ]


def test_a_story_is_compared_from_since_on_and_columns_do_not_count(tmp_path: Path) -> None:
    sees = """
        1.000   client  >  ACK seq=1 ack=1 win=65535 len=2
        1.010   server  !  read b'hi'
        1.050   server  >  ACK seq=1 ack=3 win=65533
    """
    script = '1 server reads\n1 client writes "hi"'
    right = made(tmp_path, script, sees)
    assert judge(right, play(right)) == ""
    wrong = made(tmp_path, script, sees.replace("1.050", "1.060"))
    assert [line for line in judge(wrong, play(wrong)).splitlines() if line[0] in "+-"] == [
        "- 1.060 server > ACK seq=1 ack=3 win=65533",
        "+ 1.050 server > ACK seq=1 ack=3 win=65533",
    ]


def test_faults_partitions_and_forgeries_are_in_the_story(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        1    network  drops the next data segment from client
        1    client   writes "hi"
        2    network  breaks
        2    server   writes "ho"
        2.1  network  heals
        3    forger   sends RST from server:80 to client:50000 seq=1000
        """,
    )
    assert told(scenario, ">#")[:3] == [
        "1.000 client > ACK seq=1 ack=1 win=65535 len=2 (lost)",
        "1.200 client > ACK seq=1 ack=1 win=65535 len=2",
        "1.250 server > ACK seq=1 ack=3 win=65533",
    ]
    rest = told(scenario, ">#")[3:]
    assert "2.000 network # breaks" in rest
    assert "2.000 server > ACK seq=1 ack=3 win=65533 len=2 (lost)" in rest
    assert "3.000 network # somebody sends RST seq=1000 to client in the name of server" in rest
    assert rest[-1].startswith("3.010 client > ACK")  # a challenge: RFC 5961 3


def test_hosts_crash_and_reboot(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        1    client  reads
        1    server  crashes
        2    server  reboots
        3    client  writes "hi"
        4    server  listens on 80
        4    client  connects to server:80 from 50001
        """,
    )
    assert told(scenario, "!") == [
        "1.000 server ! crashes",
        "2.000 server ! is up again",
        "3.020 client ! ConnectionResetError ECONNRESET",
        "4.020 client ! connected",
        "4.030 server ! accepted",
    ]


def test_a_router_reports(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        1    network  breaks
        1    client   connects to server:80 from 50001
        1.1  network  reports port unreachable to client
        """,
    )
    assert told(scenario, "!") == ["1.100 client ! ConnectionRefusedError ECONNREFUSED"]


def test_a_connection_that_is_not_there(tmp_path: Path) -> None:
    scenario = made(tmp_path, "1 client.2 closes")
    with pytest.raises(LookupError, match=r"1 client\.2 closes: client has no connection number 2"):
        play(scenario)


def test_one_seed_is_one_trace(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        1 network netem delay 10ms 5ms loss 10%
        1 server reads to the end
        1 client writes 100000 bytes
        1 client closes
        """,
    )
    assert play(scenario, seed=3).to_json() == play(scenario, seed=3).to_json()
    assert play(scenario, seed=3).to_json() != play(scenario, seed=4).to_json()
    assert play(scenario, seed=3).replay == "aiotcp run made --seed 3"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("group", "groups"), "group is one of opening, closing, data, failures"),
        (('zh = "题目"', ""), "title.zh is missing"),
        (("receive_buffer = 65535", "receive_bufer = 1"), "hosts.client: .*receive_bufer"),
        (("link = ", "lonk = "), "unknown: lonk"),
        (("delay 10ms", "delay 10"), "a time needs a unit"),
        (("[hosts.client]", "[hosts.client"), "Expected"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(HEAD.replace(*change, 1) + "[story]\nscript = ''")
    with pytest.raises(BadScenario, match=rf"bad\.toml: .*{says}"):
        load(path)


def changed(tmp_path: Path, script: str, rest: str, **hosts: str) -> Scenario:
    """Hosts with settings of their own."""
    text = HEAD
    for name, settings in hosts.items():
        text = text.replace(f"[hosts.{name}]\n", f"[hosts.{name}]\n{settings}\n")
    path = tmp_path / "changed.toml"
    path.write_text(f"{text}\n[story]\n{rest}\nscript = '''{CONNECT}{script}'''\n")
    return load(path)


def test_a_program_that_takes_little_at_a_time(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        0.5  server  takes 3 bytes at a time
        1    client  writes "abcdef"
        2    server  goes on reading
        3    client  closes
        4    server  goes on reading
        """,
    )
    assert told(scenario, "!") == [
        "1.010 server ! read b'abc'",
        "2.000 server ! read b'def'",
        "4.000 server ! read the end",
    ]


def test_a_program_that_takes_one_byte_after_the_other(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        0.5  server  takes 1 byte at a time every 100ms
        1    client  writes "abcdef"
        1    client  closes
        """,
    )
    assert told(scenario, "!") == ["1.610 server ! read 6 bytes and the end"]


def test_a_reset_is_told_to_a_program_that_takes_little(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        0.5  server  takes 9 bytes at a time
        1    client  stops reading
        1    server  writes "unread"
        2    client  closes
        """,
    )
    assert told(scenario, "!") == ["2.010 server ! ConnectionResetError ECONNRESET"]


def test_a_program_that_waits_for_little_unsent(tmp_path: Path) -> None:
    scenario = changed(
        tmp_path,
        """
        1  client  keeps at most 100 bytes unsent before it waits
        1  client  writes 5000 bytes and waits until it may write more
        1  server  reads 5000 bytes
        """,
        "since = 1",
        client="send_buffer = 1460",
    )
    said = [line for line in told(scenario, "!") if "may" in line]
    assert said == ["1.180 client ! may write more"]


def test_urgent_text_is_told(tmp_path: Path) -> None:
    scenario = made(tmp_path, '1 server reads\n1 client writes "now" as urgent')
    assert told(scenario, "!") == [
        "1.010 server ! is told of urgent data up to 3 bytes ahead",
        "1.010 server ! read b'now'",
    ]


def test_hosts_have_numbers_and_links_of_their_own(tmp_path: Path) -> None:
    scenario = changed(
        tmp_path,
        "1 client writes 2000 bytes\n1.5 forger sends RST from client:50000 to server:80 seq=2001",
        'since = 0\nnumbers = "wire"\nshows = ["mss", "psh"]',
        client='isn = 4294967290\naddress = "2001:db8::1"',
        server='isn = 8000\nmtu = 1280\naddress = "2001:db8::2"',
    )
    lines = [" ".join(line.split()[1:]) for line in story(play(scenario)) if "  > " in line]
    assert lines == [
        "client > SYN seq=4294967290 win=65535 mss=1440",
        "server > SYN,ACK seq=8000 ack=4294967291 win=65535 mss=1220",
        "client > ACK seq=4294967291 ack=8001 win=65535",
        "client > ACK seq=4294967291 ack=8001 win=65535 len=1220",
        "client > PSH,ACK seq=1215 ack=8001 win=65535 len=780",
        "server > ACK seq=8001 ack=1995 win=65535",
    ]
    assert play(scenario).absolute


def test_what_nobody_wrote_is_an_error_unless_it_is_the_point(tmp_path: Path) -> None:
    forged = (
        '1 server reads\n1 forger sends ACK from client:50000 to server:80 seq=1 ack=1 with "x"'
    )
    with pytest.raises(AssertionError, match="server read what nobody wrote, within 1 bytes at 0"):
        play(made(tmp_path, forged))
    scenario = made(tmp_path, forged, rest="since = 1\ncorrupts = true")
    assert told(scenario, "!") == ["1.010 server ! read b'x' that are not as they were written"]
    right = made(tmp_path, '1 server reads\n1 client writes "x"', rest="corrupts = true")
    with pytest.raises(AssertionError, match="all came out as it was written"):
        play(right)


def test_a_stranger_and_a_flood(tmp_path: Path) -> None:
    scenario = made(
        tmp_path,
        """
        1    forger  sends SYN from 198.51.100.7:4000 to server:80 seq=77
        1.1  forger  sends ACK from 198.51.100.7:4000 to server:80 seq=1 ack=1 with "hi"
        1.2  server.2  reads
        1.3  forger  floods server:80 with 2 SYNs
        """,
        rest="since = 1\nuntil = 1.5",
    )
    assert told(scenario, ">!") == [
        "1.000 forger > SYN seq=0 win=65535",
        "1.010 server > SYN,ACK seq=0 ack=1 win=65535 (lost)",
        "1.100 forger > ACK seq=1 ack=1 win=65535 len=2",
        "1.110 server ! accepted",
        "1.150 server > ACK seq=1 ack=3 win=65533 (lost)",
        "1.200 server ! read b'hi'",
        "1.300 forger > SYN seq=0 win=65535",
        "1.300 forger > SYN seq=0 win=65535",
        "1.310 server > SYN,ACK seq=0 ack=1 win=65535 (lost)",
        "1.310 server > SYN,ACK seq=0 ack=1 win=65535 (lost)",
    ]


def test_segments_that_look_the_same_have_their_own_fates(tmp_path: Path) -> None:
    """What is held up is not taken for its repetition, nor what was damaged."""
    scenario = made(
        tmp_path,
        """
        1  network  delays the next data segment from client by 1s
        1  network  corrupts the next data segment from client
        1  client   writes "same"
        """,
    )
    assert [line for line in told(scenario, ">") if "client" in line] == [
        "1.000 client > ACK seq=1 ack=1 win=65535 len=4 (late)",
        "1.200 client > ACK seq=1 ack=1 win=65535 len=4 (corrupted)",
        "1.400 client > ACK seq=1 ack=1 win=65535 len=4",
    ]


def test_marks_and_stripped_options(tmp_path: Path) -> None:
    """What meets congestion and is not ECN-capable is dropped, as a SYN is."""
    scenario = changed(
        tmp_path,
        """
        1    network  marks the next 2 segments from client
        1    client   writes "hi"
        1    client   closes
        2    network  strips the options of every SYN
        2    client   connects to server:80 from 50001
        """,
        'since = 1\nuntil = 4\nshows = ["ecn"]',
        client='ecn = "on"',
        server='ecn = "on"',
    )
    assert [line for line in told(scenario, ">") if "client" in line][:3] == [
        "1.000 client > FIN,ACK seq=1 ack=1 win=65535 len=2 ECT(0) (marked)",
        "2.000 client > SYN,ECE,CWR seq=0 win=65535 (lost)",
        "3.000 client > SYN seq=0 win=65535 (stripped)",
    ]
