"""What the command line has said, checked as far as that goes without touching the machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiotcp.options import Options
from aiotcp.serve.problems import BadOptions

if TYPE_CHECKING:
    from aiotcp.serve.certificate import Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options that all services share; names as on the command line.

    addresses: of the stack, without prefix length; host_addresses: of this machine on the device,
    with it. mtu in bytes, None: 1500 for a device of our own, else what the device has. grace in
    seconds. control: the path of the control socket, "off", or None for the usual one. web: host
    and port of the live view. fd, ready_fd: file descriptors. workers: processes. options: the
    stack's. certificate: of --certfile.
    """

    device: str = "aiotcp%d"
    addresses: tuple[str, ...]
    host_addresses: tuple[str, ...] = ()
    mtu: int | None = None
    offload: bool = True
    capture: str | None = None
    user: str | None = None
    fd: int | None = None
    configure: bool = True
    ready_fd: int | None = None
    grace: float = 5.0
    options: Options = field(default_factory=Options)
    certificate: Certificate | None = None
    workers: int = 1
    control: str | None = None
    web: tuple[str, int] | None = None


def checked_addresses(
    addresses: Sequence[str], host_addresses: Sequence[str], configured: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both in their canonical form, and with the defaults where nothing is given.

    Raises Problem for what is no address, and, if we are to configure the device (`configured`),
    for a stack address outside of the host's prefixes: the host would send its packets elsewhere.
    """
    from aiotcp.link.network import HOST_ADDRESSES
    from aiotcp.stack import DEFAULT_ADDRESSES

    if host_addresses and not addresses:
        raise BadOptions("--host-address needs --address: the stack's address in its prefix")
    stack = [_address(text) for text in addresses or DEFAULT_ADDRESSES]
    hosts = [_host_address(text) for text in host_addresses or HOST_ADDRESSES]
    if not host_addresses:
        hosts = [host for host in hosts if host.version in {each.version for each in stack}]
    for address in stack if configured else []:
        if any(address == host.ip for host in hosts):
            raise BadOptions(f"{address} can't be both the host's and the stack's address")
        if not any(address in host.network for host in hosts):
            known = ", ".join(str(host.network) for host in hosts) or "none"
            raise BadOptions(
                f"--address {address} is in none of the device's prefixes ({known}): "
                "give --host-address ADDRESS/PREFIX to match",
            )
    return tuple(map(str, stack)), tuple(map(str, hosts))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise BadOptions(f"--address {text}: not an IPv4 or IPv6 address") from None


def _host_address(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        if "/" not in text:
            raise ValueError
        return ipaddress.ip_interface(text)
    except ValueError:
        raise BadOptions(f"--host-address {text}: not ADDRESS/PREFIX, as in 192.0.2.1/24") from None
