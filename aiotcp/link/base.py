"""The two sides of the border between a stack and whatever carries its packets.

A `Link` takes and gives IP packets: a TUN device, a pipe between two stacks in one process, a
tunnel of your own. Nothing needs to be subclassed; a class with these attributes and methods is a
link. One that carries packets over a pair of callables takes thirty lines:

    class CallbackLink:
        mtu = 1500
        gso_max_bytes = 0           # no segmentation offload: frames are packets of the MTU
        checksum_offload = False    # frames come with their checksums complete

        def __init__(self, transmit: Callable[[bytes], None]) -> None:
            self.counters: dict[str, int] = {}
            self._transmit = transmit
            self._receiver: Receiver | None = None

        def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
            self._receiver = receiver

        def deliver(self, packets: Iterable[bytes]) -> None:   # called by the loop, not by send()
            if self._receiver is None:
                return
            for packet in packets:
                self._receiver.receive(memoryview(packet))
            self._receiver.flush()

        def send(self, frame: Frame) -> None:
            self._transmit(frame.to_bytes())

        def close(self) -> None:
            self._receiver = None

Three rules make links interchangeable:

*   A link calls its receiver from callbacks of the event loop only, never from inside `send()`:
    input never sends, so output must never be able to cause input in the same call stack.
*   Packets come in batches. Every run of `receive()` calls ends with one `flush()`, in the same
    callback; that is when the stack answers the batch, so a link that flushes after each packet
    gets an ACK for each.
*   Nothing that happens to a packet is an exception. IP promises nothing: what cannot be carried
    is dropped and counted under a name in `counters`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from aiotcp.wire.alike import Frames, Run
from aiotcp.wire.frame import Frame

MEMORY_LIMIT: Final = 512 * 1024 * 1024
"""That of a link that stays in the process; see `memory_limit`."""


class Receiver(Protocol):
    """What a link delivers to: a stack, or a link that wraps another one."""

    def receive(self, packet: memoryview, vouched: bool = False, gso_size: int = 0) -> None:
        """Take one IP packet.

        packet: the packet from its first IP header byte to its last; valid until `flush()`
            returns, after which the link may overwrite the memory. Copy what must live longer.
        vouched: the link answers for the checksums, so they are not to be verified: either the
            packet never left this machine's memory (the transport's may then be the mere sum of the
            pseudo-header) or hardware has checked it.
        gso_size: 0 for a packet as it was on the wire. Otherwise the packet is many TCP segments
            in one, cut every `gso_size` payload bytes if it were to travel; always vouched.

        Never raises for anything the packet contains.
        """
        ...

    def flush(self) -> int | None:
        """The batch is over: act on it. The memory of its packets may be reused afterwards.

        How many bytes of it had to be copied because nobody took them yet, if that is known: a
        smaller batch would have been better."""
        ...

    def link_lost(self, exc: OSError) -> None:
        """The device is gone and will deliver nothing more. Called at most once, from a callback
        of the loop; `send()` goes on counting drops."""
        ...


class Link(Protocol):
    """A place where frames come from and go to.

    The three properties of a link are fixed once it exists; a stack reads them when it attaches.
    A link may have six more, `receive_queue_packets`, `receive_waiting`, `owns`, `processes`,
    `hand_over` and `send_run`: see the functions of those names.
    """

    mtu: int
    """Largest IP packet in bytes, headers included; at least 576, and 1280 if IPv6 is to work."""

    gso_max_bytes: int
    """Largest IP packet in bytes, headers included, that `send()` takes with `gso_size` set.
    0: the link has no segmentation offload and every frame must fit the MTU."""

    checksum_offload: bool
    """Whether `send()` takes frames whose transport checksum is partial (`checksum_start > 0`).
    Always true where `gso_max_bytes` is not 0."""

    @property
    def counters(self) -> dict[str, int]:
        """Running totals by name, for people and tests. Every link has the names it uses from the
        start, at 0; names of discarded packets say why (`send_queue_full`, `outbound_loss`)."""
        ...

    def attach(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to deliver packets to `receiver`, from callbacks of `loop` only.

        A link has one receiver for its whole life: a second call raises RuntimeError, as does a
        call after `close()`. May be called before the loop runs.
        """
        ...

    def send(self, frame: Frame) -> None:
        """Hand one frame over. Never blocks, never calls the receiver, never raises for what the
        network or device does: failures are drops, counted by name, and so are frames sent after
        `close()`. Not to be called before `attach()`.

        The link may keep `frame` and its payload views until they are sent; they are not to be
        changed by anyone.
        """
        ...

    def close(self) -> None:
        """Stop delivering at once and release the device. Harmless when repeated."""
        ...


def require_link(link: object) -> None:
    """Raise TypeError for what can't be one."""
    if isinstance(link, tuple):
        raise TypeError("link must be a link, not a tuple: open_tun() returns its link first, [0]")
    if not all(callable(getattr(link, name, None)) for name in ("attach", "send", "close")):
        raise TypeError(f"link must be a link, not {link!r}")


def receive_queue_packets(link: Link) -> int | None:
    """How many packets may wait in front of `link` before some are dropped: its attribute
    `receive_queue_packets`. None, or no such attribute: as many as peers may send. The stack keeps
    the windows that it offers below that."""
    packets: int | None = getattr(link, "receive_queue_packets", None)
    return packets


def receive_waiting(link: Link) -> Callable[[], bool] | None:
    """Delivers one batch of what has arrived and was not delivered yet, from within a callback of
    the loop, and tells whether there may be more: its attribute `receive_waiting`. The stack asks
    before it believes a timer that nothing came. None, or no such attribute: packets come when the
    link calls."""
    found: Callable[[], bool] | None = getattr(link, "receive_waiting", None)
    return found


def hand_over(link: Link) -> Callable[[Sequence[Frame]], None] | None:
    """Takes frames, as `send` does one, from a callback of the loop that no receiver has a part in,
    such as a timer of a link that wraps this one; so it may deliver them before it returns: its
    attribute `hand_over`. None, or no such attribute: there is `send`."""
    found: Callable[[Sequence[Frame]], None] | None = getattr(link, "hand_over", None)
    return found


def send_run(link: Link) -> Callable[[Frames], None] | None:
    """Takes several frames, as `send` does one after the other: its method `send_run`. All but the
    last have the same length, and differ in sequence number, checksum and text alone; each follows
    the one before. They are a list, or a `Run`, which makes them when they are looked at. None, or
    not a method of the very class of `link`, so that whoever overrides `send` need not know of it:
    there is `send`."""
    if "send_run" not in vars(type(link)) or "send" in getattr(link, "__dict__", ()):
        return None
    found: Callable[[Frames], None] = link.send_run  # type: ignore[attr-defined]
    return found


def receive_run(receiver: Receiver) -> Callable[[Run], None] | None:
    """Takes the packets of a run, vouched for, as `receive` does one after the other: its method
    `receive_run`. None, or not a method of the class whose `receive` it has, as for `send_run`:
    there is `receive`."""
    if "receive" in getattr(receiver, "__dict__", ()):
        return None
    for kind in type(receiver).__mro__:
        names = kind.__dict__
        if "receive" in names:
            if "receive_run" not in names:
                return None
            found: Callable[[Run], None] = receiver.receive_run  # type: ignore[attr-defined]
            return found
    return None


def owns(link: Link) -> Callable[[bytes], bool] | None:
    """Tells which flows come to `link`, where several processes share one device: its attribute
    `owns`. A flow is remote address, local address, remote port and local port, as an inbound
    packet has them one after the other: 12 or 36 bytes. None, or no such attribute: all of them, as
    far as is known. The stack chooses local ports so that the answers come to it."""
    found: Callable[[bytes], bool] | None = getattr(link, "owns", None)
    return found


def processes(link: Link) -> int | None:
    """How many processes share the device of `link`, and the memory of the machine with it: its
    attribute `processes`, 1 where there is no other. None, or no such attribute: what `link`
    carries stays in this process, as far as is known."""
    found: int | None = getattr(link, "processes", None)
    return found


def memory_limit(link: Link) -> int:
    """What all connections of a stack on `link` may hold, bytes, where its options leave that open:
    of what this machine has for connections (`link.machine`) a share for each of `processes`. What
    stays in the process has the same everywhere, so that a test runs on all machines alike."""
    sharers = processes(link)
    if sharers is None:
        return MEMORY_LIMIT
    from aiotcp.link import machine  # not for tests that stay in memory

    return max(machine.for_connections() // sharers, machine.LEAST_BYTES)
