"""Which hosts share a lane of a ladder.

Three hosts still have one each. Of a capture with more, which names no hosts but only addresses,
those share one that are as far from whoever began: clients the first, servers the last, proxies
those between. So two hosts that talk by IPv4 and IPv6 have two lanes, and so has a server with its
hundred clients; no two of one lane have a connection. Hosts with names always have their own.
"""

from __future__ import annotations

from aiotcp.trace.events import Flow, end_text

OWN_MAX = 3
"""Of more lanes, each is too narrow for a segment's numbers."""


def lanes(hosts: list[str], flows: list[Flow]) -> list[list[str]]:
    """The hosts of each lane, left to right."""
    own = [[host] for host in hosts]
    addresses: set[str] = set()
    for flow in flows:
        server = end_text(flow.server_address, flow.server_port)  # a name over the loopback
        addresses.update((flow.client_address, flow.server_address, server))
    if len(hosts) <= OWN_MAX or not addresses.issuperset(hosts):
        return own
    servers: dict[str, set[str]] = {host: set() for host in hosts}
    for flow in flows:
        servers[flow.client].add(flow.server)
    ranks = _ranks(servers)
    if ranks is None:
        return own
    shared: list[list[str]] = [[] for _ in range(max(ranks.values()) + 1)]
    for host in hosts:
        shared[ranks[host]].append(host)
    return shared


def _ranks(servers: dict[str, set[str]]) -> dict[str, int] | None:
    """How many connections are between each and the first of those that lead to it, the longest
    way; None if they lead in a circle."""
    waiting = dict.fromkeys(servers, 0)
    for asked in servers.values():
        for server in asked:
            waiting[server] += 1
    ranks = dict.fromkeys(servers, 0)
    ready = [host for host, count in waiting.items() if not count]
    for host in ready:  # grows
        for server in servers[host]:
            ranks[server] = max(ranks[server], ranks[host] + 1)
            waiting[server] -= 1
            if not waiting[server]:
                ready.append(server)
    return ranks if len(ready) == len(servers) else None
