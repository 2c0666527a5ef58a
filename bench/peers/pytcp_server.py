"""A server on PyTCP, for the bench: run by the Python of `make bench-peers`, by itself.

    python -O pytcp_server.py PROGRAM CLIENT_ADDRESS SERVER_ADDRESS

Prints "READY HOST PORT" and serves until its standard input ends. PyTCP is under the GPL: it is a
program of its own here, and nothing of aiotcp imports it. -O takes its logging away.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from typing import Any

from pytcp import TcpIpStack, config
from pytcp.lib import socket

_BLOCK = bytes(256 * 1024)


def discard(peer: Any) -> None:
    while peer.recv():
        pass
    peer.close()


def source(peer: Any) -> None:
    session = peer.tcp_session
    try:
        while True:
            peer.send(_BLOCK)
            while len(session._tx_buffer) > len(_BLOCK):  # nothing else would make it wait
                time.sleep(0.001)
    except OSError:
        peer.close()


def echo(peer: Any) -> None:
    while message := peer.recv():
        peer.send(message)
    peer.close()


def line(peer: Any) -> None:
    got = b""
    while not got.endswith(b"\n"):
        more = peer.recv()
        if not more:
            break
        got += more
    peer.send(got)
    peer.close()


def accept(listening: Any, handler: Any) -> None:
    while True:
        peer, _ = listening.accept()
        threading.Thread(target=handler, args=(peer,), daemon=True).start()


def main(program: str, client: str, server: str) -> None:
    config.LOG_CHANEL = set()
    config.IP6_SUPPORT = False
    handler = {"discard": discard, "source": source, "echo": echo, "line": line}[program]
    length = client.partition("/")[2]
    stack = TcpIpStack(interface="pytcp", ip4_address=f"{server}/{length}")
    for command in (f"addr add {client} dev pytcp", "link set pytcp up"):
        subprocess.run(["ip", *command.split()], check=True)
    # Before it takes an address it asks three times who has it, and waits for a second or two each
    # time. Nobody else is on this link.
    drawn = random.uniform
    random.uniform = lambda a, b: 0.0
    stack.start()
    random.uniform = drawn
    listening = socket.socket(family=socket.AF_INET4, type=socket.SOCK_STREAM)
    listening.bind((server, 80))
    listening.listen()
    threading.Thread(target=accept, args=(listening, handler), daemon=True).start()
    print("READY", server, 80, flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads would go on


main(*sys.argv[1:])
