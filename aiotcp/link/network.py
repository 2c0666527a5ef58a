"""The host's side of a TUN device: addresses, MTU, queue length, link state. Needs CAP_NET_ADMIN.

The functions are synchronous and quick (a few milliseconds). They cannot run inside a running event
loop, because pyroute2 runs one of its own: call them before the loop starts, or through `off_loop`.

A network namespace belongs to a thread. All of this acts on the namespace of the calling thread,
and a thread has at first the namespace of the thread that made it, when it was made. So a worker
thread from a pool (`asyncio.to_thread`) may be in another namespace than its caller, if the caller
has changed its own since; `off_loop` makes a new thread, which cannot be.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from aiotcp.link.queues import Queues, open_queues
from aiotcp.link.tun import Tun

HOST_ADDRESSES = ("192.0.2.1/24", "fd61:696f:7463:70::1/64")
"""The host's own addresses on the device. 192.0.2.0/24 is TEST-NET-1, RFC 5737: nobody routes it.
The other is a unique local prefix, RFC 4193."""

QUEUE_LENGTH = 4096
"""Packets that may wait in the device for us. When it is full the kernel drops. Without offload the
stack offers its peers no more than three quarters of it, together; what is on its way elsewhere is
of that too, so a long path needs more: 200 ms of 1 Gbit/s are 17,300 packets of 1500 bytes."""

IPV6_MIN_MTU = 1280

_MAIN_TABLE = 254
_IFA_F_NODAD = 0x02
_ADDR_GEN_MODE_NONE = 1
_RTN_LOCAL = 2
_IN_USE_S = 2.0  # longest wait for new IPv6 addresses
# What the kernel answers to an IPv6 address if it was built or booted without IPv6, or if
# disable_ipv6 is set.
_NO_IPV6 = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EACCES)

_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_P = ParamSpec("_P")
_T = TypeVar("_T")


class PrefixInUse(OSError):
    """The prefix wanted for the device is in use elsewhere; `prefix` and `interface` say which."""

    def __init__(self, prefix: str, interface: str, how: str) -> None:
        super().__init__(errno.EADDRINUSE, f"{prefix} is already {how} {interface}")
        self.prefix = prefix
        self.interface = interface


@dataclass(frozen=True)
class Configured:
    """What `configure` has done."""

    name: str
    addresses: tuple[str, ...]
    """The addresses that the interface now has, of those asked for."""
    missing: dict[str, str]
    """The addresses that it could not get because there is no IPv6 here, and why, in words."""


def configure(
    name: str,
    *,
    host_addresses: Iterable[str] = HOST_ADDRESSES,
    mtu: int | None = 1500,
    queue_length: int | None = QUEUE_LENGTH,
    up: bool = True,
) -> Configured:
    """Set up the interface `name`. Repeating it is harmless.

    host_addresses: with prefix length, "192.0.2.1/24"; the kernel routes the prefix to the device.
        IPv6 addresses are usable at once (no duplicate address detection), and the device gets no
        link-local address. If the kernel has no IPv6, its addresses are reported as missing.
    mtu: bytes, 68 to 65535; IPv6 needs 1280. queue_length: packets. None leaves either as it is.
    up: also bring the link up.

    Raises PrefixInUse before anything is changed if another interface has the prefix; ValueError
    for what is no address, and an MTU out of range; PermissionError; OSError (ENODEV) if there is
    no such interface.
    """
    wanted = [ipaddress.ip_interface(address) for address in host_addresses]
    if mtu is not None and not 68 <= mtu <= 65535:
        raise ValueError(f"mtu must be 68 to 65535 bytes, not {mtu}")
    with _netlink(f"configuring {name}") as netlink:
        index = _index(netlink, name)
        _refuse_clash(netlink, wanted, index)
        settings: dict[str, Any] = {}
        if mtu is not None:
            settings["mtu"] = mtu
        if queue_length is not None:
            settings["txqlen"] = queue_length
        if settings:
            netlink.link("set", index=index, **settings)
        missing = _silence_ipv6(netlink, index)
        added: list[str] = []
        absent: dict[str, str] = {}
        for address in wanted:
            reason = missing if address.version == 6 else ""
            if address.version == 6 and mtu is not None and mtu < IPV6_MIN_MTU:
                reason = f"IPv6 needs an MTU of at least {IPV6_MIN_MTU}, not {mtu}"
            reason = reason or _add(netlink, index, address)
            if reason:
                absent[str(address)] = reason
            else:
                added.append(str(address))
        if up:
            netlink.link("set", index=index, state="up")
            _await_use(netlink, index, [each for each in wanted if str(each) in added])
    return Configured(name, tuple(added), absent)


def open_tun(
    name: str = "aiotcp%d",
    *,
    host_addresses: Iterable[str] = HOST_ADDRESSES,
    mtu: int = 1500,
    queue_length: int = QUEUE_LENGTH,
    offload: bool = True,
) -> tuple[Tun, Configured]:
    """Create (or attach to) a TUN device and configure the host's side of it.

    Raises what `Tun` and `configure` raise; the device is closed again then.
    """
    tun = Tun(name, mtu=mtu, offload=offload)
    return tun, _configured(tun, host_addresses, mtu, queue_length)


def open_tun_queues(
    count: int,
    name: str = "aiotcp%d",
    *,
    host_addresses: Iterable[str] = HOST_ADDRESSES,
    mtu: int = 1500,
    queue_length: int = QUEUE_LENGTH,
    offload: bool = True,
) -> tuple[Queues, Configured]:
    """The same, for a device with `count` queues: see `aiotcp.link.queues`. queue_length: packets
    that may wait in each of them."""
    queues = open_queues(count, name, mtu=mtu, offload=offload)
    return queues, _configured(queues, host_addresses, mtu, queue_length)


def _configured(
    opened: Tun | Queues, host_addresses: Iterable[str], mtu: int, queue_length: int
) -> Configured:
    try:
        return configure(
            opened.name, host_addresses=host_addresses, mtu=mtu, queue_length=queue_length
        )
    except BaseException:
        opened.close()
        raise


def check_free(host_addresses: Iterable[str], *, name: str = "") -> None:
    """Raise PrefixInUse if an interface other than `name` has a route into one of the prefixes, or
    an address in one. A route to more than the prefix, such as the default route, is no clash."""
    wanted = [ipaddress.ip_interface(address) for address in host_addresses]
    with _netlink("reading the routes") as netlink:
        found = netlink.link_lookup(ifname=name) if name else ()
        _refuse_clash(netlink, wanted, found[0] if found else 0)


def delete(name: str) -> None:
    """Delete the interface. Its `Tun` reports `link_lost`. Raises OSError (ENODEV, EPERM)."""
    with _netlink(f"deleting {name}") as netlink:
        netlink.link("del", index=_index(netlink, name))


def statistics(name: str) -> dict[str, int]:
    """The kernel's counters of the interface: rx_packets, tx_dropped and so on. "tx" is what the
    kernel sends, and we receive."""
    with _netlink(f"reading the counters of {name}") as netlink:
        (link,) = netlink.get_links(_index(netlink, name))
        return {key: int(value) for key, value in link.get_attr("IFLA_STATS64").items()}


async def off_loop(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run one of the functions above from a coroutine, in a thread of its own.

    The thread is new, so it is in the network namespace of the thread that runs the loop.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aiotcp-network")
    try:
        return await asyncio.get_running_loop().run_in_executor(
            pool, functools.partial(function, *args, **kwargs)
        )
    finally:
        pool.shutdown(wait=False)


@contextmanager
def _netlink(doing: str) -> Iterator[Any]:
    """pyroute2's view of this thread's namespace, with its errors as OSError."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise RuntimeError(
            f"{doing} inside a running event loop: "
            "await network.off_loop(open_tun, ...), or do it before the loop runs"
        )
    from pyroute2 import IPRoute  # slow to import, and needed by few
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as exc:
        code = abs(exc.code)
        hint = "needs CAP_NET_ADMIN" if code == errno.EPERM else f"failed: {os.strerror(code)}"
        raise OSError(code, f"{doing} {hint}") from exc


def _index(netlink: Any, name: str) -> int:
    found = netlink.link_lookup(ifname=name)
    if not found:
        raise OSError(errno.ENODEV, f"there is no interface {name} in this network namespace")
    return int(found[0])


def _silence_ipv6(netlink: Any, index: int) -> str:
    """No link-local address, and so no router solicitations. Returns why not, without IPv6."""
    from pyroute2.netlink.exceptions import NetlinkError

    mode = {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE]]}
    try:
        netlink.link("set", index=index, IFLA_AF_SPEC={"attrs": [["AF_INET6", mode]]})
    except NetlinkError as exc:
        if abs(exc.code) in _NO_IPV6:
            return "the kernel has no IPv6"
        raise
    return ""


def _add(netlink: Any, index: int, address: _Interface) -> str:
    """Give the interface an address. Returns why not, where that is to be tolerated."""
    from pyroute2.netlink.exceptions import NetlinkError

    flags = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
    try:
        netlink.addr(
            "replace",
            index=index,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            **flags,
        )
    except NetlinkError as exc:
        if address.version == 6 and abs(exc.code) in _NO_IPV6:
            return "IPv6 is disabled in the kernel (sysctl net.ipv6.conf.all.disable_ipv6)"
        raise
    return ""


def _await_use(netlink: Any, index: int, addresses: Sequence[_Interface]) -> None:
    """Wait until the kernel takes packets to its new IPv6 addresses.

    It accepts an address at once and brings it into use in the background, some milliseconds later
    on a busy machine; the answer to what it sends first would be lost. A device that nobody has
    opened has no carrier, and its addresses come into use when it gets one.
    """
    from pyroute2.netlink.exceptions import NetlinkError

    (link,) = netlink.get_links(index)
    if not link.get_attr("IFLA_CARRIER"):
        return
    give_up_at = time.monotonic() + _IN_USE_S
    for address in addresses:
        while address.version == 6 and time.monotonic() < give_up_at:
            try:
                (route,) = netlink.route("get", dst=str(address.ip))
            except NetlinkError as exc:
                if abs(exc.code) not in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                    raise
            else:
                if route["type"] == _RTN_LOCAL:
                    break
            time.sleep(0.001)


def _refuse_clash(netlink: Any, wanted: Sequence[_Interface], own_index: int) -> None:
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
    for entry in netlink.get_addr():
        if entry["index"] != own_index:
            address = ipaddress.ip_address(
                entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
            )
            for each in wanted:
                if address in each.network:
                    how = f"in use (address {address}) on"
                    raise PrefixInUse(str(each.network), names.get(entry["index"], "?"), how)
    for route in netlink.get_routes():
        destination, out = route.get_attr("RTA_DST"), route.get_attr("RTA_OIF")
        if destination is None or route.get_attr("RTA_TABLE") != _MAIN_TABLE or out == own_index:
            continue
        target = ipaddress.ip_network(f"{destination}/{route['dst_len']}")
        for each in wanted:
            if target.version == each.version and target.subnet_of(each.network):  # type: ignore[arg-type]
                through = names.get(out, "another route")
                raise PrefixInUse(str(each.network), through, "routed through")
