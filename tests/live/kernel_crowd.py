"""Many senders on kernel sockets, each in a thread: kernel_crowd.py HOST PORT CONNECTIONS BYTES."""

from __future__ import annotations

import socket
import sys
import threading
import time

_BLOCK = bytes(1 << 18)


def send(host: str, port: int, size: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as kernel:
        kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        kernel.connect((host, port))
        for start in range(0, size, len(_BLOCK)):
            kernel.sendall(_BLOCK[: size - start])
        kernel.shutdown(socket.SHUT_WR)
        while kernel.recv(4096):
            pass


def main() -> None:
    host, port, connections, size = sys.argv[1:]
    threads = [
        threading.Thread(target=send, args=(host, int(port), int(size)))
        for _ in range(int(connections))
    ]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{int(size) * len(threads) * 8 / 1e9 / (time.perf_counter() - begun):.2f} Gbit/s")


if __name__ == "__main__":
    main()
