"""Virtual time for tests: ours and our users'."""

from aiotcp.sim.loop import Deadlock, TooLong, VirtualLoop, run

__all__ = ["Deadlock", "TooLong", "VirtualLoop", "run"]
