"""The TUN device that the program serves on: opened and set up, or a clear word on why not."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import socket
import struct
from dataclasses import dataclass
from typing import Any

from aiotcp.link.queues import Queues, open_queues
from aiotcp.link.tun import Tun
from aiotcp.serve import ownname, privileges
from aiotcp.serve.problems import AddressClash, BadOptions, DeviceBusy, NoPermission, NoTun, Problem
from aiotcp.serve.settings import Settings

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1
_IFREQ = struct.Struct("=16sH22x")


@dataclass(frozen=True, slots=True)
class Device:
    """An open device, or one queue of it. host_addresses: empty if somebody else has set it up."""

    tun: Tun
    host_addresses: tuple[str, ...]
    addresses: tuple[str, ...]
    """The stack's addresses that packets can reach."""
    missing: dict[str, str]
    """Host addresses that could not be had, and why."""
    queues: Queues | None = None
    """For several workers: `tun` is one of these."""

    def close(self) -> None:
        """Also what the process has of the other queues."""
        (self.queues or self.tun).close()


def open_device(settings: Settings, command: str = "serve") -> Device:
    """Open the device that `settings` ask for. Has to be called before the event loop runs.

    command: the subcommand of `aiotcp` that a user is told to type.
    Raises Problem.
    """
    if settings.fd is None and not settings.configure:
        _refuse_missing(settings.device)
    try:
        if settings.workers > 1 and not settings.configure:
            queues = open_queues(
                settings.workers, settings.device, mtu=settings.mtu, offload=settings.offload
            )
            return Device(queues.tuns[0], (), settings.addresses, {}, queues)
        if settings.fd is not None or not settings.configure:
            tun = Tun(settings.device, mtu=settings.mtu, offload=settings.offload, fd=settings.fd)
            return Device(tun, (), settings.addresses, {})
        return _create(settings)
    except ValueError as exc:
        raise BadOptions(str(exc)) from None
    except OSError as exc:
        raise _explained(exc, command) from None


def _refuse_missing(name: str) -> None:
    """To open a device that does not exist would create it, where we are root."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        raise BadOptions(
            f"there is no interface {name}: --no-configure takes one that is set up already",
        ) from None


def _create(settings: Settings) -> Device:
    from aiotcp.link import network  # pyroute2 takes its time: not for --help, nor for --fd

    shared: dict[str, Any] = {
        "host_addresses": settings.host_addresses,
        "mtu": settings.mtu if settings.mtu is not None else 1500,
        "offload": settings.offload,
    }
    queues = None
    if settings.workers > 1:
        queues, done = network.open_tun_queues(settings.workers, settings.device, **shared)
        tun = queues.tuns[0]
    else:
        tun, done = network.open_tun(settings.device, **shared)
    prefixes = [ipaddress.ip_interface(address).network for address in done.addresses]
    reachable = tuple(
        address
        for address in settings.addresses
        if any(ipaddress.ip_address(address) in prefix for prefix in prefixes)
    )
    if not reachable:
        (queues or tun).close()
        reasons = "; ".join(f"{address}: {why}" for address, why in done.missing.items())
        raise Problem(f"none of the addresses can be had: {reasons}")
    return Device(tun, done.addresses, reachable, done.missing, queues)


def doubts(device: Device) -> list[str]:
    """Why nobody may be able to reach the stack over the device, each in a line; empty: as far as
    can be seen, all is well. Of a device that is in another network namespace nothing is seen."""
    found = [
        f"{address} is this machine's own address: it answers itself, and the device sees nothing"
        for address in device.addresses
        if _is_ours(address)
    ]
    name = device.tun.name
    if _flags(name) & _IFF_UP == 0:
        found.insert(0, f"{name} is down: ip link set {name} up")
    if device.queues is not None and device.queues.steering is None:
        found.append(
            f"{device.queues.unsteered}: ICMP errors reach any worker, and connections that an "
            "application opens on the stack mostly fail"
        )
    return found


def _flags(name: str) -> int:
    """The interface's IFF_ flags; all of them if there is no such interface here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0))
        except OSError:
            return -1
    flags: int = _IFREQ.unpack(answer)[1]
    return flags


def _is_ours(address: str) -> bool:
    """Whether the kernel takes what is sent to the address for its own."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((address, 9))  # sends nothing
            own: str = asking.getsockname()[0]
    except OSError:
        return False
    return own == address


def _explained(exc: OSError, command: str) -> Problem:
    what = exc.strerror or str(exc)
    if isinstance(exc, PermissionError):
        return NoPermission(f"{what}.\n{_ways_out(command)}")
    if isinstance(exc, FileNotFoundError):
        return NoTun(what)
    if exc.errno == errno.EBUSY:
        return DeviceBusy(f"{what}: choose another name with --device")
    if exc.errno == errno.EADDRINUSE:
        return AddressClash(
            f"{what}: choose other addresses, as in "
            "--host-address 198.51.100.1/24 --address 198.51.100.2",
        )
    return Problem(what)


def _ways_out(command: str) -> str:
    user = privileges.own_name()
    device = "aiotcp0"
    name, becoming, several = f"aiotcp {command}", "", ""
    if command == "serve":
        name, becoming = "aiotcp-serve", f" --user {user}"
        several = "\n              (with --workers: ip tuntap add … multi_queue)"
    return f"""\
There are three ways out:
  root:       sudo {ownname.as_root(command)} …{becoming}
  namespace:  unshare -Urn bash; there, run {name} … and what is to talk to it
  once, as root, a device that belongs to {user}:
              ip tuntap add dev {device} mode tun user {user}
              ip address add 192.0.2.1/24 dev {device}
              ip link set {device} up
              then, as {user}:
              {name} … --device {device} --no-configure --address 192.0.2.2{several}"""
