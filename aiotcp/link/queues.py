"""A TUN device with several queues, for several processes: one stack on each queue.

    queues = open_queues(4)
    for index, tun in enumerate(queues.tuns):
        if os.fork() == 0:
            serve(Stack(tun, ...))      # the same addresses in each of them

All the processes together are one host: each packet comes to one of them, and those of a connection
to the same one (`aiotcp.link.steering` says how). They share nothing and need no locks.

**The parent keeps the queues open.** A flow's queue depends on how many there are; while each has
at least one open descriptor, none of them moves. So when a process dies, the connections of the
others go on; what comes for those that it had waits in the queue, for whoever is started in its
place. That is a host that has rebooted, for these connections alone: it answers them by RST. Give
all of them the same `Stack(seed=...)`, and initial sequence numbers, timestamps, SYN cookies and
Fast Open's go on where the other left off.

A process that is no fork gets a queue by its descriptor, and who owns what by two numbers:

    subprocess.Popen([..., str(tun.fileno()), str(count), str(key)], pass_fds=[tun.fileno()])
    tun = Tun(fd=fd, owns=Steering(count, key).owner(index))
    tun.processes = count   # who have the machine's memory together
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from aiotcp.link import steering
from aiotcp.link.steering import Steering
from aiotcp.link.tun import Tun

MAX_QUEUES = 256
"""The kernel's limit for one device."""

_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO, _ETHTOOL_GLINK = 0x03, 0x0A
_IFREQ = struct.Struct("@16sP16x")


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of one device, in the order of their numbers."""

    tuns: Sequence[Tun]
    steering: Steering | None
    """How flows find their queue. None: as the kernel sees fit."""
    unsteered: str = ""
    """Why so, in words."""

    @property
    def name(self) -> str:
        """Of the device."""
        return self.tuns[0].name

    def close(self) -> None:
        """Close all of them, in this process. The device stays while another one has one open."""
        for tun in self.tuns:
            tun.close()


def open_queues(
    count: int,
    name: str = "aiotcp%d",
    *,
    mtu: int | None = None,
    offload: bool = True,
    key: int | None = None,
) -> Queues:
    """Create a TUN device with `count` queues, or attach to one that has been set up for several
    (`ip tuntap add dev NAME mode tun multi_queue`) and that nobody else has open.

    mtu, offload: as for `Tun`. key: that of the steering; by default it comes from the system's
    random source.

    Where eBPF is not allowed the kernel's own steering is left in place, `Queues.steering` is None
    and `unsteered` says why: connections that come in stay on their queues, but ICMP errors come to
    any of them, and connections that a stack opens mostly fail, since their answers do, too.

    Raises what `Tun` raises; EBUSY if somebody has the device open; ValueError for a count that is
    not 1 to 256.
    """
    if not 1 <= count <= MAX_QUEUES:
        raise ValueError(f"a device has 1 to {MAX_QUEUES} queues, not {count}")
    if _is_open(name):
        raise OSError(errno.EBUSY, f"{name} is in use by another process")
    chosen = Steering(count, int.from_bytes(os.urandom(8), "big") if key is None else key)
    tuns: list[Tun] = []
    try:
        for _ in range(count):
            tuns.append(Tun(name, mtu=mtu, offload=offload, multi_queue=True))
            name = tuns[0].name
        why_not = _steer(chosen, tuns[0].fileno())
    except BaseException:
        for tun in tuns:
            tun.close()
        raise
    for tun in tuns:
        tun.processes = count
    if why_not:
        return Queues(tuple(tuns), None, why_not)
    for index, tun in enumerate(tuns):
        tun.owns = chosen.owner(index)
    return Queues(tuple(tuns), chosen)


def _steer(chosen: Steering, fd: int) -> str:
    """Returns why not, if that is how it is."""
    try:
        chosen.install(fd)
    except OSError as exc:
        # A device that was there before may have a program of its former user.
        with contextlib.suppress(OSError):
            steering.remove(fd)
        return f"{exc.strerror} ({os.strerror(exc.errno or 0)})"
    return ""


def _is_open(name: str) -> bool:
    """Whether it is a TUN device that somebody has opened, as far as can be seen: it is up, and has
    a carrier. Our queues would be counted with theirs, and our offload be theirs."""
    encoded = name.encode()[:15]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            driver = _ethtool(asking, encoded, _ETHTOOL_GDRVINFO, 196)
            link = _ethtool(asking, encoded, _ETHTOOL_GLINK, 8)
        except OSError:
            return False
    return driver[4:8] == b"tun\0" and any(link[4:])


def _ethtool(asking: socket.socket, name: bytes, question: int, size: int) -> bytes:
    """The answer, `size` bytes, the question among them."""
    answer = array.array("B", struct.pack("=I", question).ljust(size, b"\0"))
    address, _ = answer.buffer_info()
    fcntl.ioctl(asking, _SIOCETHTOOL, _IFREQ.pack(name, address))
    return answer.tobytes()
