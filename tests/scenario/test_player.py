"""Scenarios played: programs, faults, hosts that crash, and what is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiotcp.scenario.model import BadScenario, Scenario, load
from aiotcp.scenario.player import judge, play
from aiotcp.trace.story import story

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
    lines = [" ".join(line.split()) for line in story(play(scenario))]
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
