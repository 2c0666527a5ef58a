"""Which stacks live on an event loop, and whose an address is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aiotcp.addresses import pack
from aiotcp.routes import Routes
from aiotcp.streams import Stack, current_stack_or_none

if TYPE_CHECKING:
    LoopBase = asyncio.BaseEventLoop
else:
    LoopBase = object

ANY = "*"
"""The host that stands for every address that a link delivers."""


class Residents(LoopBase):
    """The part of `aiotcp.routing.StackLoop` that knows its stacks, and closes them."""

    stack: Stack | None = None
    """The first stack of the loop, which listens where no address says otherwise."""

    def __init__(
        self,
        stack: Stack | None = None,
        *,
        routes: Iterable[str] | Mapping[str, Stack | None] | None = None,
        grace: float = 1.0,
    ) -> None:
        """See `add_stack`. `grace`: seconds that connections have to finish when the program ends
        (`Stack.aclose`)."""
        super().__init__()
        self.routes: Routes[Stack] = Routes()
        """Where connections go."""
        self.stacks: list[Stack] = []
        self._grace = grace
        self._everything: Routes[bool] = Routes()  # for a current stack on a loop without any
        self._everything.update(True, None)
        try:
            if stack is not None:
                self.add_stack(stack, routes)
            elif routes is not None:
                raise ValueError("routes without a stack: there is nothing but the kernel")
        except BaseException:
            self.close()
            raise

    def add_stack(
        self,
        stack: Stack,
        routes: Iterable[str] | Mapping[str, Stack | None] | None = None,
    ) -> None:
        """Let a stack live on this loop, which closes it at its own end.

        routes: what goes through it: prefixes such as "10.0.0.0/8", or a mapping from prefixes to
            stacks, None there meaning the kernel. The longest prefix decides. By default
            everything but loopback and IPv6's link-local addresses; for a second stack nothing. Its
            own addresses are always its.

        Raises ValueError for what is no prefix and for an address that another stack of this loop
        has; TypeError for what is no stack; RuntimeError for the stack of another loop, or a closed
        one.
        """
        _require_stack(stack)
        added: Routes[Stack] = Routes()
        if routes is not None or self.stack is None:
            added.update(stack, routes)
        for address in stack.addresses:
            added.add(address, stack)
        owners = dict.fromkeys([stack, *(owner for _, owner in added if owner is not None)])
        residents = [each for each in self.stacks if not each.closed]
        for owner in owners:
            _require_stack(owner)
            if owner not in residents:
                _refuse_clash(owner, residents)
                residents.append(owner)
        for owner in owners:
            owner.bind(self)
        for prefix, owner_or_none in added:
            self.routes.add(prefix, owner_or_none)
        self.stacks = residents
        if self.stack is None:
            self.stack = stack

    def _current(self) -> Stack | None:
        current = current_stack_or_none()
        return current if current is not None and current.loop is self else None

    def _towards(self, address: str) -> Stack | None:
        """The stack that connections to `address` use; None: the kernel."""
        current = self._current()
        if current is None:
            return self.routes.lookup(address)
        if pack(address) in current.addresses:
            return current
        routes: Routes[Any] = self.routes if self.stacks else self._everything
        return current if routes.lookup(address) is not None else None

    def _owner(self, address: str) -> Stack | None:
        """The stack that has this very address."""
        packed = pack(address)
        current = self._current()
        stacks = self.stacks if current is None else [current, *self.stacks]
        return next((stack for stack in stacks if packed in stack.addresses), None)

    def _at(self, address: str) -> Stack | None:
        """The stack that listens on `address`; None: the kernel."""
        if address == ANY:
            return self._current() or self.stack
        if address in ("0.0.0.0", "::"):
            return self._towards(address)
        return self._owner(address)

    # The end

    async def shutdown_asyncgens(self) -> None:
        """As asyncio's, and closes the stacks: `asyncio.run()` calls it when all tasks are over."""
        await super().shutdown_asyncgens()
        for stack in self.stacks:
            await stack.aclose(self._grace)

    def close(self) -> None:
        if not self.is_closed() and not self.is_running():  # else the loop underneath says what is
            for stack in self.stacks:
                stack.abort()
        super().close()


def _require_stack(stack: object) -> None:
    if not isinstance(stack, Stack):
        raise TypeError(f"an aiotcp.Stack was expected, got {stack!r}")


def _refuse_clash(stack: Stack, others: Iterable[Stack]) -> None:
    for other in others:
        if shared := set(stack.addresses) & set(other.addresses):
            raise ValueError(f"{', '.join(sorted(shared))}: {other!r} has that already")
