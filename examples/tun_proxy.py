"""TCP from a TUN device leaves through the kernel's sockets, as from this program.

    tun_proxy.py [DEVICE]

What a VPN, a container's network or a recorder begins with. Whoever is routed into the device talks
to aiotcp, whatever the address and port; for each connection this program opens one of the kernel's
to the same destination. To route a network namespace into it, as root:

    python examples/tun_proxy.py aiotcp0 &
    ip netns add inside
    ip link set aiotcp0 netns inside up          # the program keeps its end
    ip -n inside address add 10.0.0.1/32 dev aiotcp0
    ip -n inside route add default dev aiotcp0
    ip netns exec inside curl http://93.184.215.14/

Only TCP passes: names have to be resolved elsewhere. The kernel must not route what this program
opens into the device again, or it would be its own client for ever.
"""

import asyncio
import socket
import struct
import sys
from asyncio import StreamReader, StreamWriter

import aiotcp
from aiotcp.link.tun import Tun


async def main(device: str) -> None:
    tun = Tun(device)
    async with aiotcp.Stack(tun) as stack:
        server = await stack.start_server(relay, "*")  # every address, every port
        print(f"{tun.name} is open", flush=True)
        await server.wait_closed()  # when the device is deleted


async def relay(near_reader: StreamReader, near_writer: StreamWriter) -> None:
    """One connection of the device: open the other half, and copy until both sides have closed."""
    writers = [near_writer]
    try:
        host, port = near_writer.get_extra_info("sockname")[:2]  # whom the client called
        far_reader, far_writer = await asyncio.open_connection(host, port)
        writers.append(far_writer)
        async with asyncio.TaskGroup() as both:
            both.create_task(copy(near_reader, far_writer))
            both.create_task(copy(far_reader, near_writer))
    except* OSError:  # refused, unreachable, reset, timed out: the other side sees a reset
        for writer in writers:
            reset(writer)
    finally:
        for writer in writers:
            writer.close()


async def copy(reader: StreamReader, writer: StreamWriter) -> None:
    """From one side to the other, up to the end of the stream, which is passed on as well."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()  # the side that reads slowly slows the other one down
    writer.write_eof()


def reset(writer: StreamWriter) -> None:
    """A kernel's socket closes with a RST only if it lingers for no time."""
    if not writer.is_closing():
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["aiotcp%d"]))
