"""Captures as tcpdump and Wireshark's dumpcap take them, each way that they have for frames."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether

from aiotcp.trace.capturefile import read
from aiotcp.trace.events import Trace
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

TIMEOUT_S = 30.0
WAYS = {
    "Ethernet": ("tcpdump", "-i", "lo"),
    "nanoseconds": ("tcpdump", "-i", "lo", "--nano"),
    "cooked": ("tcpdump", "-i", "any", "-y", "LINUX_SLL", "-Q", "in"),
    "cooked, version 2": ("tcpdump", "-i", "any", "-y", "LINUX_SLL2", "-Q", "in"),
    "beginnings only": ("tcpdump", "-i", "lo", "-s", "94"),
    "pcapng": ("dumpcap", "-i", "lo"),
    "pcapng, two interfaces": ("dumpcap", "-i", "lo", "-i", "tun0"),
    "pcapng, beginnings only": ("dumpcap", "-i", "lo", "-s", "94"),
}


@contextmanager
def capturing(command: Sequence[str], file: Path) -> Iterator[None]:
    """From when it says that it does to the end of the block."""
    more = (
        ("-U", "--immediate-mode", "-B", "32768", "-Z", "root") if command[0] == "tcpdump" else ()
    )
    process = subprocess.Popen(
        [*command, *more, "-w", str(file)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stderr:
            said += line
            if "listening on" in line or line.startswith("File:"):
                break
        else:
            pytest.fail(said)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


def exchange(host: str) -> None:
    """One connection on the loopback: a request of 5 bytes, an answer of 3,000."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def answer() -> None:
        served, _ = listening.accept()
        with served:
            served.recv(5, socket.MSG_WAITALL)
            served.sendall(bytes(3000))

    with closing(socket.create_server((host, 0), family=family)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        with socket.create_connection(listening.getsockname()[:2], TIMEOUT_S) as asking:
            asking.sendall(b"GET /")
            assert len(asking.recv(3000, socket.MSG_WAITALL)) == 3000
            assert asking.recv(1) == b""
        thread.join(TIMEOUT_S)


def until_whole(file: Path) -> Trace:
    """What is in the file once both connections are over; it is being written meanwhile."""
    for _ in range(600):
        if file.exists() and file.stat().st_size > 24:
            trace = read(file)
            if sum("FIN" in segment.flags for segment in trace.segments) >= 4:
                return trace
        threading.Event().wait(0.05)
    pytest.fail("it did not write what it has seen")


@pytest.mark.parametrize("way", WAYS)
def test_all_of_it_is_read(way: str, tmp_path: Path) -> None:
    command = WAYS[way]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    if "tun0" in command:  # raw IP, where the other one is Ethernet
        subprocess.run(["ip", "tuntap", "add", "dev", "tun0", "mode", "tun"], check=True)
        subprocess.run(["ip", "link", "set", "tun0", "up"], check=True)
    file = tmp_path / "capture"
    with capturing(command, file):
        exchange("127.0.0.1")
        exchange("::1")
        trace = until_whole(file)
    assert [flow.client_address for flow in trace.flows] == ["127.0.0.1", "::1"]
    for flow in range(2):
        segments = [segment for segment in trace.segments if segment.flow == flow]
        assert [each.flags for each in segments[:3]] == ["SYN", "SYN,ACK", "ACK"]
        assert sum(each.length for each in segments) == 3005
        assert not any(each.again for each in segments)
        assert max(each.ack or 0 for each in segments) >= 3001
        assert min(each.window for each in segments) > 1000, "windows are scaled"
    assert [note for note in trace.notes if "unknown" in note] == []
    assert trace.segments[-1].at < TIMEOUT_S


@pytest.fixture
def cable() -> Iterator[None]:
    """From `here` to `there`."""
    add = ("ip", "link", "add", "here", "type", "veth", "peer", "name", "there")
    if subprocess.run(add, capture_output=True).returncode:
        pytest.skip("this kernel has no veth")
    for name in ("here", "there"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    yield
    subprocess.run(["ip", "link", "del", "here"], check=True)


@pytest.mark.usefixtures("cable")
@pytest.mark.parametrize("way", ["Ethernet", "cooked", "pcapng"])
def test_what_came_over_a_vlan_is_read(way: str, tmp_path: Path) -> None:
    command = ["there" if part == "lo" else part for part in WAYS[way]]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    packet = IP(src="192.0.2.1", dst="192.0.2.2") / TCP(sport=50000, dport=80, flags="S", seq=1)
    tags = [Dot1Q(vlan=5)]
    if way != "cooked":  # tcpdump itself does not know two of these again
        tags.append(Dot1AD(vlan=7) / Dot1Q(vlan=5))
    file = tmp_path / "capture"
    with capturing(command, file), closing(socket.socket(socket.AF_PACKET, socket.SOCK_RAW)) as raw:
        raw.bind(("here", 0))
        for tag in tags:
            raw.send(bytes(Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / tag / packet))
        for _ in range(600):
            if file.exists() and file.stat().st_size > 24:
                trace = read(file)
                if len(trace.segments) == len(tags):
                    break
            threading.Event().wait(0.05)
        else:
            pytest.fail("it did not write what it has seen")
    assert {(each.sender, each.flags) for each in trace.segments} == {("192.0.2.1", "SYN")}
