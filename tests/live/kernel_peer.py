"""The kernel's end of a bulk transfer, a process of its own: blocking sockets, CUBIC.

    kernel_peer.py send|receive HOST PORT BYTES SEED

Connects; sends so many bytes drawn from the seed and waits for the end of the stream, or receives
to the end. Prints, as JSON, the SHA-256 of the bytes, how long they took (seconds), and how many
segments the kernel sent again.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import struct
import sys
import time
from collections.abc import Iterator

_BLOCK_BYTES = 1 << 20
_TOTAL_RETRANS_AT = 100  # in struct tcp_info, linux/tcp.h


def blocks(size: int, seed: str) -> Iterator[bytes]:
    """`size` pseudo-random bytes, a block at a time."""
    source = random.Random(seed)
    while size > 0:
        yield source.randbytes(min(size, _BLOCK_BYTES))
        size -= _BLOCK_BYTES


def main() -> None:
    what, host, port, size, seed = sys.argv[1:]
    digest = hashlib.sha256()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as kernel:
        kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        kernel.connect((host, int(port)))
        start = time.perf_counter()
        if what == "send":
            for block in blocks(int(size), seed):
                digest.update(block)
                kernel.sendall(block)
            kernel.shutdown(socket.SHUT_WR)
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        while got := kernel.recv_into(buffer):
            digest.update(buffer[:got])
        seconds = time.perf_counter() - start
        info = kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    (again,) = struct.unpack_from("=I", info, _TOTAL_RETRANS_AT)
    print(json.dumps({"sha256": digest.hexdigest(), "seconds": seconds, "sent_again": again}))


if __name__ == "__main__":
    main()
