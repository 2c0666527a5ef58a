"""The program as a process, with curl and the kernel's TCP as its clients."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.serve import privileges
from tests.serve.support import TIMEOUT_S, curl, ended, serving
from tests.support.netns import has_ipv6
from tests.support.netns import netns as netns

pytestmark = [
    pytest.mark.tun,
    pytest.mark.usefixtures("netns"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

PR_CAPBSET_DROP, CAP_NET_ADMIN = 24, 12
NOBODY = pwd.getpwnam("nobody")
STACK = ("192.0.2.2", "fd61:696f:7463:70::2")


root_only = pytest.mark.skipif(
    not privileges.is_root(), reason="needs the machine's root: the program becomes someone else"
)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users may read. Not one of pytest's: every pytest that starts closes
    those to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def give_up_net_admin() -> None:
    """In a child, before it starts the program: root, but not of the network any more."""
    if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0) != 0:
        raise OSError("prctl")


def connect(endpoint: str) -> socket.socket:
    host, _, port = endpoint.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT_S)


# What it serves


@pytest.mark.parametrize("offload", ["--offload", "--no-offload"])
def test_curl_fetches_the_connections_over_ipv4_and_ipv6(offload: str) -> None:
    with serving("http", offload, "-o", "cc=bbr", "-o", "keepalive=on") as program:
        assert program.endpoints[0] == "192.0.2.2:80"
        assert has_ipv6() == ("[fd61:696f:7463:70::2]:80" in program.endpoints)
        for endpoint in program.endpoints:
            page = curl(f"http://{endpoint}/")
            assert "Live connections: " in page
            assert "ESTABLISHED" in page
            with connect(endpoint) as idle:
                live = json.loads(curl(f"http://{endpoint}/connections.json"))
                host, port = idle.getsockname()[:2]
                remote = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                (seen,) = [each for each in live if each["remote"] == remote]
            assert seen["local"] == endpoint
            assert (seen["state"], seen["cc"]) == ("ESTABLISHED", "bbr")
            assert {"bytes_received", "bytes_sent", "rtt_s", "cwnd_bytes"} <= seen.keys()
            counters = json.loads(curl(f"http://{endpoint}/counters.json"))
            assert counters["sent_open_reply"] >= 3


def test_the_commands_that_it_prints_work_as_printed() -> None:
    with serving("http", stdout=subprocess.PIPE) as program:
        assert program.process.stdout is not None
        printed = [program.process.stdout.readline() for _ in range(2 + len(program.endpoints))]
        assert re.match(r"device +aiotcp0: 192\.0\.2\.1/24.*MTU 1500", printed[0])
        commands = [line[9:].strip() for line in printed[2:]]
        assert commands[0] == "curl http://192.0.2.2/"
        for command in commands:
            assert "Live connections" in curl(*shlex.split(command)[1:])


@root_only
def test_files_and_listings_are_served_to_someone_who_is_not_root(
    public: Path, tmp_path: Path
) -> None:
    root = public / "root"
    (root / "sub dir").mkdir(parents=True)
    (root / "sub dir" / "large").write_bytes(bytes(range(256)) * 4096)
    (root / "<b>.txt").write_text("bold")
    (root / "secret").write_text("for its owner")
    (root / "secret").chmod(0o600)
    (root / "outside").symlink_to("/etc/passwd")
    with serving("http", "--root", str(root), "--user", "nobody") as program:
        base = f"http://{program.endpoints[0]}"
        listing = curl(f"{base}/")
        assert '<a href="./sub%20dir/">sub dir/</a>' in listing
        assert "&lt;b&gt;.txt" in listing
        assert "<b>" not in listing
        assert "outside" not in listing
        assert curl(f"{base}/%3Cb%3E.txt") == "bold"
        assert "large" in curl("--location", f"{base}/sub%20dir")
        copy = tmp_path / "copy"
        curl("--output", str(copy), f"{base}/sub%20dir/large")
        assert copy.read_bytes() == (root / "sub dir" / "large").read_bytes()
        (root / "sub dir" / "index.html").write_text("the index")
        assert curl(f"{base}/sub%20dir/") == "the index"
        for target, status in (
            ("/no-such-file", "404"),
            ("/secret", "403"),
            ("/outside", "404"),
            ("/..%2f..%2fetc/passwd", "404"),
        ):
            answer = subprocess.run(
                [
                    "curl",
                    "-s",
                    "-o",
                    os.devnull,
                    "-w",
                    "%{http_code}",
                    "--path-as-is",
                    base + target,
                ],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
            assert answer.stdout == status, target


def test_an_asgi_application_with_its_start_up_and_shutdown(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from starlette.applications import Starlette\n"
        "from starlette.responses import PlainTextResponse\n"
        "from starlette.routing import Route\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    app.state.word = 'started'\n"
        "    yield\n"
        "    open('ended', 'w').close()\n"
        "async def page(request):\n"
        "    return PlainTextResponse(f'{request.app.state.word} {request.client.host}')\n"
        "app = Starlette(routes=[Route('/', page)], lifespan=lifespan)\n"
    )
    with serving("asgi", "example:app", "--port", "8000", cwd=tmp_path) as program:
        assert curl(f"http://{program.endpoints[0]}/") == "started 192.0.2.1"
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    assert (tmp_path / "ended").exists()


def test_echo_sends_everything_back_and_then_the_end() -> None:
    with serving("echo") as program:
        for endpoint in program.endpoints:
            data = os.urandom(300_000)
            with connect(endpoint) as client, client.makefile("rwb") as stream:
                stream.write(data)
                stream.flush()
                client.shutdown(socket.SHUT_WR)
                assert stream.read() == data


def test_the_log_has_one_event_for_each_transition() -> None:
    options = ("--log", "json", "--log-level", "debug")
    with serving("http", *options, stderr=subprocess.PIPE) as program:
        curl(f"http://{program.endpoints[0]}/")
        program.signal(signal.SIGTERM)
        _, stderr = program.process.communicate(timeout=TIMEOUT_S)
    events = [json.loads(line) for line in stderr.splitlines()]
    seen = [(each["old"], each["new"]) for each in events if each["event"] == "transition"]
    assert seen == [
        ("LISTEN", "SYN-RECEIVED"),
        ("SYN-RECEIVED", "ESTABLISHED"),
        ("ESTABLISHED", "CLOSE-WAIT"),
        ("CLOSE-WAIT", "LAST-ACK"),
        ("LAST-ACK", "CLOSED"),
    ]
    assert next(each["event"] for each in events if each["logger"] == "aiotcp.serve") == "serving"
    assert any("GET / HTTP/1.1" in each["event"] for each in events), "the access log"


def test_it_serves_though_nobody_reads_what_it_prints() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with serving("http", stdout=writing) as program:
            assert "Live connections" in curl(f"http://{program.endpoints[0]}/")
            program.signal(signal.SIGTERM)
            assert program.wait() == 0
    finally:
        os.close(writing)


# How it ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("service", ["http", "echo"])
def test_a_signal_closes_every_connection_with_fin_and_exits_0(
    service: str, number: signal.Signals
) -> None:
    with serving(service) as program, connect(program.endpoints[0]) as client:
        client.sendall(b"GET /" if service == "http" else b"hello")
        program.signal(number)
        with client.makefile("rb") as stream:
            stream.read()  # ends: FIN; ConnectionResetError if it were RST
        client.close()
        assert program.wait() == 0


def test_what_does_not_end_within_the_grace_period_is_reset() -> None:
    with serving("echo", "--grace", "0.2") as program, connect(program.endpoints[0]) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        program.signal(signal.SIGTERM)
        assert client.recv(1) == b"", "FIN first"
        assert program.wait() == 0
        # Linux's word for an RST once the other side's FIN has come.
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE


@pytest.mark.parametrize("kind", ["http", "asgi"])
def test_an_answer_that_nobody_reads_is_reset_after_the_grace_period(
    public: Path, kind: str
) -> None:
    (public / "example.py").write_text(
        "import asyncio\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        await receive()\n"
        "        await send({'type': 'lifespan.startup.complete'})\n"
        "        await receive()\n"
        "        open('ended', 'w').close()\n"
        "        return await send({'type': 'lifespan.shutdown.complete'})\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    while True:\n"
        "        body = {'type': 'http.response.body', 'body': bytes(1 << 16), 'more_body': True}\n"
        "        await send(body)\n"
        "        await asyncio.sleep(0)\n"
    )
    (public / "large").write_bytes(bytes(1 << 25))
    what = ["asgi", "example:app"]
    if kind == "http":
        what = ["http", "--root", "."]
        if privileges.is_root():
            what += ["--user", "nobody"]
    with (
        serving(*what, "--grace", "0.3", cwd=public, stderr=subprocess.PIPE) as program,
        connect(program.endpoints[0]) as client,
    ):
        client.sendall(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        program.signal(signal.SIGTERM)
        _, stderr = program.process.communicate(timeout=TIMEOUT_S)
    assert program.process.returncode == 0
    assert "Traceback" not in stderr
    assert (public / "ended").exists() == (kind == "asgi")


def test_a_second_signal_ends_the_grace_period() -> None:
    with serving("echo", "--grace", "3600") as program, connect(program.endpoints[0]) as client:
        program.signal(signal.SIGTERM)
        assert client.recv(1) == b"", "FIN: it is in the grace period now"
        program.signal(signal.SIGTERM)
        assert program.wait() == 0


def test_it_says_so_when_the_device_goes_away() -> None:
    with serving("echo", "--device", "gone0", stderr=subprocess.PIPE) as program:
        network.delete("gone0")
        _, stderr = program.process.communicate(timeout=TIMEOUT_S)
        assert program.process.returncode == 1
        assert "gone0" in stderr
        assert "Traceback" not in stderr


# Devices and privileges


@root_only
def test_the_user_changes_for_good_once_the_device_is_open(tmp_path: Path) -> None:
    capture = tmp_path / "all.pcapng"
    with serving("http", "--user", "nobody", "--capture", str(capture)) as program:
        status = Path(f"/proc/{program.process.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(NOBODY.pw_uid)] * 4
        assert fields["Gid"].split() == [str(NOBODY.pw_gid)] * 4
        assert fields["Groups"].split() == [str(NOBODY.pw_gid)]
        assert int(fields["CapEff"], 16) == 0
        curl(f"http://{program.endpoints[0]}/")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    assert capture.stat().st_uid == NOBODY.pw_uid


@root_only
def test_a_capture_file_that_was_there_keeps_its_owner(tmp_path: Path) -> None:
    capture, link = tmp_path / "all.pcapng", tmp_path / "link"
    capture.touch()
    link.symlink_to(capture)
    with serving("echo", "--user", "nobody", "--capture", str(link)) as program:
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    assert capture.stat().st_uid == os.getuid()
    assert capture.stat().st_size > 0


def test_a_full_disk_ends_the_capture_and_nothing_else() -> None:
    with serving("http", "--capture", "/dev/full", stderr=subprocess.PIPE) as program:
        curl(f"http://{program.endpoints[0]}/")
        program.signal(signal.SIGTERM)
        _, stderr = program.process.communicate(timeout=TIMEOUT_S)
    assert program.process.returncode == 0
    assert "capture incomplete" in stderr
    assert "Traceback" not in stderr


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_the_capture_says_why_each_packet_was_sent(tmp_path: Path) -> None:
    capture = tmp_path / "all.pcapng"
    with serving("http", "--capture", str(capture)) as program:
        curl(f"http://{program.endpoints[0]}/")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    fields = ("-e", "ip.src", "-e", "tcp.flags.str", "-e", "frame.comment")
    shown = subprocess.run(
        ["tshark", "-r", str(capture), "-T", "fields", *fields],
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    ours = [line.split("\t") for line in shown.stdout.splitlines() if line.startswith("192.0.2.2")]
    assert any("A··S" in flags for _, flags, _ in ours), "a SYN+ACK"
    assert all(comment for _, _, comment in ours)


def test_a_device_that_root_has_set_up_serves_a_user_without_privilege() -> None:
    commands = (
        f"tuntap add dev ours0 mode tun user {os.geteuid()}",
        "address add 198.51.100.1/24 dev ours0",
        "link set ours0 up",
    )
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)
    try:
        with serving(
            *("http", "--device", "ours0", "--no-configure", "--address", "198.51.100.2"),
            before=give_up_net_admin,
        ) as program:
            assert program.endpoints == ["198.51.100.2:80"]
            assert "Live connections" in curl("http://198.51.100.2/")
    finally:
        network.delete("ours0")


def test_without_uvloop_it_serves_on_asyncios_loop(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('there is none')\n")
    with serving("http", cwd=tmp_path):
        assert "Live connections" in curl("http://192.0.2.2/")


def test_what_keeps_packets_away_is_said_at_the_start() -> None:
    def announced(address: str) -> str:
        asked = ("http", "--device", "ours0", "--no-configure", "--address", address)
        with serving(*asked, stdout=subprocess.PIPE) as program:
            program.signal(signal.SIGTERM)
            return program.process.communicate(timeout=TIMEOUT_S)[0]

    for command in ("tuntap add dev ours0 mode tun", "address add 198.51.100.1/24 dev ours0"):
        subprocess.run(["ip", *command.split()], check=True)
    try:
        assert "warning: ours0 is down: ip link set ours0 up\n" in announced("198.51.100.2")
        subprocess.run(["ip", "link", "set", "ours0", "up"], check=True)
        said = announced("198.51.100.1")
        assert "warning: 198.51.100.1 is this machine's own address" in said
        assert "is down" not in said
        assert "warning" not in announced("198.51.100.2")
    finally:
        network.delete("ours0")


def test_a_device_handed_over_as_a_descriptor_needs_no_privilege() -> None:
    tun, _ = network.open_tun("handed0")
    try:
        with serving(
            *("http", "--fd", str(tun.fileno())),
            pass_fds=(tun.fileno(),),
            before=give_up_net_admin,
        ):
            assert "Live connections" in curl("http://192.0.2.2/")
    finally:
        tun.close()


def test_without_privilege_there_are_three_ways_out() -> None:
    code, stderr = ended("http", before=give_up_net_admin)
    assert code == 4
    assert stderr.count("\n") < 12
    for way in ("sudo", "unshare -Urn", "ip tuntap add"):
        assert way in stderr


def test_addresses_in_use_elsewhere_name_the_interface_and_the_options() -> None:
    other, _ = network.open_tun("other0", host_addresses=["192.0.2.129/25"])
    try:
        code, stderr = ended("http")
    finally:
        other.close()
    assert code == 5
    assert "other0" in stderr
    assert "--host-address" in stderr


def test_a_device_in_use_is_no_device_for_us() -> None:
    other = Tun("other0", mtu=1500)
    try:
        code, stderr = ended("http", "--device", "other0")
    finally:
        other.close()
    assert code == 6
    assert "other0 is in use" in stderr


@pytest.mark.parametrize(
    ("target", "message"),
    [("no_such_module:app", "no_such_module"), ("os:no_such_name", "no_such_name")],
)
def test_an_application_that_can_not_be_imported(target: str, message: str) -> None:
    code, stderr = ended("asgi", target)
    assert code == 8
    assert message in stderr
    assert "Traceback" not in stderr


def test_two_programs_at_once_on_addresses_of_their_own() -> None:
    others = ("--host-address", "198.51.100.1/24", "--address", "198.51.100.2")
    with serving("http"), serving("http", *others) as second:
        assert second.endpoints == ["198.51.100.2:80"]
        for host in (STACK[0], "198.51.100.2"):
            assert "Live connections: 1" in curl(f"http://{host}/")
