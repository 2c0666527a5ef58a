"""make bench-synflood: a million forged SYNs, and curl in their midst.

    python -m bench.synflood [--syns 1000000] [--rate 5000] [--json]

A web page on our own TCP behind a TUN device, in a network namespace. The SYNs come from the
kernel's side through a raw socket, each from another address and port, `rate` a second. (At more
than the stack can read the device's queue drops most of them, and curl's own SYN among them; 0: no
limit.) curl fetches the page again and again meanwhile. Shown are how the server's memory has grown
(RSS), and how long curl took to connect. As root or where user namespaces are allowed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

from aiotcp import Stack
from aiotcp.addresses import pack
from aiotcp.link import network
from aiotcp.link.tun import Tun
from aiotcp.wire import tcp
from aiotcp.wire.tcp import SYN, HeaderTemplate
from bench.memory import resident

HOST, STACK, PORT = "192.0.2.1", "192.0.2.2", 80
_INSIDE = "AIOTCP_BENCH_INSIDE"
_PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"


def attack(count: int, rate: int) -> int:
    """Send `count` SYNs, in a process of its own. Prints how many were sent, and in what time."""
    template = HeaderTemplate(pack("10.0.0.1"), 1024, pack(STACK), PORT)
    options = tcp.pack_options(mss=1460, wscale=7, sack_permitted=True, timestamps=(1, 0))
    packet = bytearray(
        template.frame(4711, 0, SYN, 65535, options=options, offload=False).to_bytes()
    )
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number in range(count):
            high, low = number >> 15 & 0x7FFF, number & 0x7FFF
            packet[12:16] = bytes((10, high >> 8, high & 0xFF, 1))
            packet[20:22] = (1024 + low).to_bytes(2, "big")
            _checksums(packet)
            raw.sendto(packet, (STACK, 0))
            if rate and number % 64 == 0:
                time.sleep(max(began + number / rate - time.monotonic(), 0))
    print(json.dumps({"sent": count, "seconds": time.monotonic() - began}))
    return 0


def _checksums(packet: bytearray) -> None:
    """The kernel fills in that of IP; TCP's is ours."""
    packet[36:38] = b"\0\0"
    number = int.from_bytes(packet[12:], "big") + tcp.PROTOCOL + len(packet) - 20
    packet[36:38] = ((-number) % 0xFFFF).to_bytes(2, "big")


async def _page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_PAGE)
    writer.close()


async def _curl() -> float | None:
    """Seconds until it was connected; None if it did not get the page."""
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-s", "-o", "/dev/null", "-m", "10", "-w", "%{time_connect} %{http_code}"),
        f"http://{STACK}/",
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await curl.communicate()
    connected, status = answer.decode().split()
    return float(connected) if status == "200" else None


async def _measure(tun: Tun, count: int, rate: int) -> dict[str, Any]:
    stack = Stack(tun, addresses=[STACK])
    await stack.start_server(_page, STACK, PORT)
    for _ in range(3):
        await _curl()
    before = peak = resident()
    attacker = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "bench.synflood",
            "--attack",
            "--syns",
            str(count),
            "--rate",
            str(rate),
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    told = asyncio.ensure_future(attacker.communicate())
    await asyncio.sleep(0.5)
    connects: list[float | None] = []
    while not told.done():
        connects.append(await _curl())
        peak = max(peak, resident())
        await asyncio.sleep(0.2)
    sent = json.loads((await told)[0])
    counters = stack.counters
    report = {
        "syns_sent": sent["sent"],
        "seconds": round(sent["seconds"], 1),
        "answered_by_cookie": counters.sent["syn_cookie"],
        "dropped_by_device": (await network.off_loop(network.statistics, tun.name))["tx_dropped"],
        "memory_growth_bytes": peak - before,
        "curls": len(connects),
        "curls_failed": connects.count(None),
        "curl_connect_s": {
            "longest": max((c for c in connects if c is not None), default=None),
            "mean": sum(c or 0 for c in connects) / max(len(connects), 1),
        },
        "cookies_accepted": counters.syn_cookies_accepted,
    }
    await stack.aclose(grace=0)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.synflood", description=__doc__)
    parser.add_argument("--syns", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=5000, help="SYNs per second (default: 5000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--attack", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.attack:
        return attack(chosen.syns, chosen.rate)
    if _INSIDE not in os.environ:
        return in_private_network()
    tun, _ = network.open_tun(host_addresses=[f"{HOST}/24"], mtu=1500, offload=True)
    try:
        report = asyncio.run(_measure(tun, chosen.syns, chosen.rate))
    finally:
        tun.close()
    if chosen.json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:22}{value}")
    return 0


def in_private_network() -> int:
    """Run this program again in a network namespace of its own."""
    ways = [["unshare", "-n"]] if os.geteuid() == 0 else []
    for way in (*ways, ["unshare", "-Urn"]):
        if subprocess.run([*way, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            again = [*way, sys.executable, "-m", "bench.synflood", *sys.argv[1:]]
            return subprocess.run(again, env=os.environ | {_INSIDE: "1"}, check=False).returncode
    print("bench: no network namespace to be had here; run it as root", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
