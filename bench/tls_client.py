"""The client of the TLS measurements: OpenSSL's, on a blocking kernel socket with CUBIC.

    python -m bench.tls_client send|receive HOST PORT SECONDS

Megabytes go through OpenSSL at a time, so Python is not what limits. Sends for so long, until the
peer has closed; or receives for so long. Prints what client.c prints.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import time

_BUFFER_BYTES = 1 << 20
_GUARD_S = 60


def send(tls: ssl.SSLSocket, until: float) -> int:
    buffer = memoryview(bytes(_BUFFER_BYTES))
    count = 0
    while time.perf_counter() < until:
        tls.sendall(buffer)
        count += _BUFFER_BYTES
    try:
        tls.unwrap()  # the peer's close_notify says that it has everything
    except (ssl.SSLError, OSError):
        pass
    return count


def receive(tls: ssl.SSLSocket, until: float) -> int:
    buffer = bytearray(_BUFFER_BYTES)
    count = 0
    while time.perf_counter() < until:
        got = tls.recv_into(buffer)
        if not got:
            break
        count += got
    return count


def main() -> None:
    what, host, port, seconds = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    signal.alarm(int(float(seconds)) + _GUARD_S)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as kernel:
        kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        kernel.connect((host, int(port)))
        with context.wrap_socket(kernel) as tls:
            began = time.perf_counter()
            count = (send if what == "send" else receive)(tls, began + float(seconds))
            took = time.perf_counter() - began
    print(json.dumps({"count": count, "seconds": took, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    main()
