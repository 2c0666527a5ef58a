"""Virtual time for tests: ours and our users'."""

from aiotcp.sim.loop import Deadlock, VirtualLoop, run

__all__ = ["Deadlock", "VirtualLoop", "run"]
