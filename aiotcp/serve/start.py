"""aiotcp-serve as a console script; and Ctrl-C while a program of ours is still being imported.

Until then the signal itself ends it, which shells call 130: an exception would be a traceback
through whatever is being imported, and there is nothing to put in order. So this module imports
nothing.
"""

from __future__ import annotations

import signal


def quietly() -> None:
    """Ctrl-C ends the process, unless it is ignored, as a shell has it behind `&`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def interruptible() -> None:
    """From now on there is something to put in order: Ctrl-C is KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    quietly()
    from aiotcp.serve.main import main as serve

    serve()
