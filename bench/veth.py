"""Kernel sockets in another namespace than the client's, joined to it by a pair of veth devices."""

from __future__ import annotations

import ctypes
import ipaddress
import os

from aiotcp.link import network

_CLONE_NEWNET = 0x40000000


def move_behind_veth(client_address: str, server_address: str, mtu: int, number: int) -> None:
    """Move this process, which has one thread and no loop yet, to a namespace of its own; both ends
    of the pair get their addresses. The pair goes with the process."""
    from pyroute2 import IPRoute  # slow to import

    near, far = f"near{number}", f"far{number}"
    length = ipaddress.ip_interface(client_address).network.prefixlen
    with IPRoute() as here:
        here.link("add", ifname=near, kind="veth", peer={"ifname": far})
        network.configure(near, host_addresses=[client_address], mtu=mtu, queue_length=None)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, f"no network namespace to be had: {os.strerror(code)}")
        here.link("set", index=here.link_lookup(ifname=far)[0], net_ns_pid=os.getpid())
    network.configure(
        far, host_addresses=[f"{server_address}/{length}"], mtu=mtu, queue_length=None
    )
