"""The TUN device that the program serves on: opened and set up, or a clear word on why not."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass

from aiotcp.link.tun import Tun
from aiotcp.serve.problems import AddressClash, BadOptions, DeviceBusy, NoPermission, NoTun, Problem
from aiotcp.serve.settings import Settings


@dataclass(frozen=True, slots=True)
class Device:
    """An open device. host_addresses: empty if somebody else has set it up."""

    tun: Tun
    host_addresses: tuple[str, ...]
    addresses: tuple[str, ...]
    """The stack's addresses that packets can reach."""
    missing: dict[str, str]
    """Host addresses that could not be had, and why."""


def open_device(settings: Settings) -> Device:
    """Open the device that `settings` ask for. Has to be called before the event loop runs.

    Raises Problem.
    """
    if settings.fd is None and not settings.configure:
        _refuse_missing(settings.device)
    try:
        if settings.fd is not None or not settings.configure:
            tun = Tun(settings.device, mtu=settings.mtu, offload=settings.offload, fd=settings.fd)
            return Device(tun, (), settings.addresses, {})
        return _create(settings)
    except ValueError as exc:
        raise BadOptions(str(exc)) from None
    except OSError as exc:
        raise _explained(exc) from None


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

    tun, done = network.open_tun(
        settings.device,
        host_addresses=settings.host_addresses,
        mtu=settings.mtu if settings.mtu is not None else 1500,
        offload=settings.offload,
    )
    prefixes = [ipaddress.ip_interface(address).network for address in done.addresses]
    reachable = tuple(
        address
        for address in settings.addresses
        if any(ipaddress.ip_address(address) in prefix for prefix in prefixes)
    )
    if not reachable:
        tun.close()
        reasons = "; ".join(f"{address}: {why}" for address, why in done.missing.items())
        raise Problem(f"none of the addresses can be had: {reasons}")
    return Device(tun, done.addresses, reachable, done.missing)


def _explained(exc: OSError) -> Problem:
    what = exc.strerror or str(exc)
    if isinstance(exc, PermissionError):
        return NoPermission(f"{what}.\n{_ways_out()}")
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


def _ways_out() -> str:
    user = os.environ.get("USER") or str(os.getuid())
    device = "aiotcp0"
    return f"""\
There are three ways out:
  root:       sudo aiotcp-serve … --user {user}
  namespace:  unshare -Urn bash; there, run aiotcp-serve … and what is to talk to it
  once, as root, a device that belongs to {user}:
              ip tuntap add dev {device} mode tun user {user}
              ip address add 192.0.2.1/24 dev {device}
              ip link set {device} up
              then, as {user}:
              aiotcp-serve … --device {device} --no-configure --address 192.0.2.2"""
