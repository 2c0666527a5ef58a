"""examples/tun_proxy.py as a program: a namespace whose only way out is the device, and servers in
the one where the program runs."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

import pytest

from tests.support.netns import has_ipv6, private_network
from tests.support.netns import netns as netns

pytestmark = [pytest.mark.tun, pytest.mark.usefixtures("netns")]

PROGRAM = Path(__file__).parents[2] / "examples" / "tun_proxy.py"
DEVICE = "tunproxy0"
V4 = ("198.51.100.1", "203.0.113.200")
V6 = ("2001:db8::1", "2001:db8:ffff::2")
PORTS = (80, 8080)
EVERY = [(host, port) for host in (*V4, *V6) for port in PORTS]
GUARD_S = 60
DATA = random.Random(4).randbytes(3_000_000)

_T = TypeVar("_T")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=GUARD_S)


class Inside:
    """The namespace of the clients: a thread is in it, and whatever that starts."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread

    def run(self, function: Callable[..., _T], *args: object) -> _T:
        return self._thread.submit(function, *args).result(GUARD_S)

    def curl(self, *words: str) -> bytes:
        def visit() -> bytes:
            command = ["curl", "--silent", "--show-error", "--fail", "--globoff", *words]
            return subprocess.run(command, check=True, capture_output=True, timeout=GUARD_S).stdout

        return self.run(visit)

    def connected(self, host: str, port: int) -> socket.socket:
        return self.run(socket.create_connection, (host, port), GUARD_S)


@contextmanager
def inside() -> Iterator[Inside]:
    """The device moves there, and is the default route."""
    home = ExitStack()
    with ThreadPoolExecutor(1) as thread:
        there = Inside(thread)
        there.run(home.enter_context, private_network())
        try:
            place = f"/proc/{os.getpid()}/task/{there.run(threading.get_native_id)}/ns/net"
            ip("link", "set", DEVICE, "netns", place)
            there.run(ip, "link", "set", DEVICE, "up")
            there.run(ip, "address", "add", "10.0.0.1/32", "dev", DEVICE)
            there.run(ip, "route", "add", "default", "dev", DEVICE)
            if has_ipv6():
                there.run(ip, "address", "add", "fd00::1/128", "dev", DEVICE, "nodad")
                there.run(ip, "-6", "route", "add", "default", "dev", DEVICE)
            yield there
        finally:
            there.run(home.close)


class Tell(BaseHTTPRequestHandler):
    """Where the request came to; /data is DATA."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        where = json.dumps(self.connection.getsockname()[:2]).encode()
        body = DATA if self.path == "/data" else where
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture(scope="module")
def world(netns: None) -> Iterator[Inside]:
    """The program runs, servers at EVERY address and port are up, and so is the namespace."""
    with ExitStack() as up:
        for host in (*V4, *(V6 if has_ipv6() else ())):
            ip("address", "add", host, "dev", "lo", *(["nodad"] if ":" in host else []))
            for port in PORTS:
                make = Server6 if ":" in host else ThreadingHTTPServer
                server = up.enter_context(make((host, port), Tell))
                threading.Thread(target=server.serve_forever, args=(0.01,)).start()
                up.callback(server.shutdown)
        command = [sys.executable, "-W", "default", str(PROGRAM), DEVICE]
        complaints = up.enter_context(TemporaryFile("w+"))
        program = up.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True)
        )
        up.callback(program.kill)
        assert program.stdout is not None
        assert program.stdout.readline() == f"{DEVICE} is open\n"
        with inside() as there:
            yield there
        # With the namespace the device is gone.
        assert program.wait(GUARD_S) == 0
        complaints.seek(0)
        assert complaints.read() == ""


def url(host: str, port: int, path: str = "/") -> str:
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


@pytest.mark.parametrize(("host", "port"), EVERY)
def test_curl_gets_what_it_called(world: Inside, host: str, port: int) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("the kernel has no IPv6")
    assert json.loads(world.curl(url(host, port))) == [host, port]
    assert world.curl(url(host, port, "/data")) == DATA


def test_many_at_once(world: Inside) -> None:
    urls = [url(host, port) for host in V4 for port in PORTS] * 5
    words = world.curl("--parallel", "--parallel-immediate", "--parallel-max", "20", *urls)
    for host in V4:
        assert words.count(host.encode()) == 10


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server((V4[0], 9000)) as server:
        server.settimeout(GUARD_S)
        yield server


@contextmanager
def both_ends(world: Inside) -> Iterator[tuple[socket.socket, socket.socket]]:
    with listening() as server, world.connected(V4[0], 9000) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(GUARD_S)
            yield client, accepted


def send_all(sock: socket.socket) -> None:
    sock.sendall(DATA)
    sock.shutdown(socket.SHUT_WR)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


@pytest.mark.parametrize("first", ["client", "server"])
def test_one_side_closes_and_the_other_answers(world: Inside, first: str) -> None:
    with both_ends(world) as (client, server):
        one, other = (client, server) if first == "client" else (server, client)
        sending = threading.Thread(target=send_all, args=(one,))
        sending.start()
        assert hashlib.sha256(read_all(other)).digest() == hashlib.sha256(DATA).digest()
        sending.join()
        other.sendall(b"got it all")
        other.shutdown(socket.SHUT_WR)
        assert read_all(one) == b"got it all"


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_is_passed_on(world: Inside, who: str) -> None:
    with both_ends(world) as (client, server):
        one, other = (client, server) if who == "client" else (server, client)
        other.sendall(b"hello")
        assert one.recv(5) == b"hello"
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)


def test_where_nobody_listens(world: Inside) -> None:
    """The client has its connection by then, if only for a moment; it is reset."""
    with pytest.raises(ConnectionResetError), world.connected(V4[0], 9) as client:
        client.recv(1)


def test_where_no_way_leads(world: Inside) -> None:
    with pytest.raises(ConnectionResetError), world.connected("192.0.2.77", 80) as client:
        client.recv(1)


def test_the_stack_s_own_address_is_one_like_others(world: Inside) -> None:
    """192.0.2.2: it does not call itself for ever."""
    with pytest.raises(ConnectionResetError), world.connected("192.0.2.2", 80) as client:
        client.recv(1)
