"""The kernel's side of a measurement, a process of its own: blocking sockets, large buffers, CUBIC.

    python -m bench.client sink|source HOST PORT SECONDS

Sends to a sink for so long, until the peer has everything; or receives from a source for so long.
Prints the bytes moved and the seconds they took, as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import time

_BUFFER_BYTES = 1 << 20


def send(kernel: socket.socket, seconds: float) -> tuple[int, float]:
    buffer = bytes(_BUFFER_BYTES)
    moved = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        moved += kernel.send(buffer)
    kernel.shutdown(socket.SHUT_WR)
    while kernel.recv(_BUFFER_BYTES):
        pass  # the sink's FIN says that it has everything
    return moved, time.perf_counter() - start


def receive(kernel: socket.socket, seconds: float) -> tuple[int, float]:
    buffer = bytearray(_BUFFER_BYTES)
    moved = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        got = kernel.recv_into(buffer)
        if not got:
            break
        moved += got
    return moved, time.perf_counter() - start


def main() -> None:
    what, host, port, seconds = sys.argv[1:]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as kernel:
        kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        kernel.connect((host, int(port)))
        moved, took = (send if what == "sink" else receive)(kernel, float(seconds))
    print(json.dumps({"bytes": moved, "seconds": took}))


if __name__ == "__main__":
    main()
