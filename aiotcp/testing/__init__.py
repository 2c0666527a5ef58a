"""Test your asyncio program under a bad network: real TCP, in virtual time, from a seed.

    async def test_it_survives_a_partition(net):
        server, client = net.host("server"), net.host("client")
        net.link("client", "server").netem("delay 40ms 5ms loss 1%")
        server.run(serve())                        # your program, unmodified
        asking = client.run(fetch("http://server:8080/"))
        await net.sleep(1)
        net.partition("client", "server")
        await net.sleep(30)
        net.heal()
        assert await asking == "hello"

`net` is a fixture of the pytest plugin that comes with aiotcp; without pytest: `run`.
"""

from aiotcp.sim.faults import Fault
from aiotcp.testing.net import Host, Net, run

__all__ = ["Fault", "Host", "Net", "run"]
