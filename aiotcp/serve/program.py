"""One run of the program: device, privileges, stack, service, signals; in this order, and back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import aiotcp.link.machine  # as the next one
import aiotcp.sockets  # noqa: F401 - connections are asked for it when it can't be read any more
from aiotcp import log
from aiotcp.link.base import Link
from aiotcp.link.pcapng import Capture
from aiotcp.options import Options
from aiotcp.serve import privileges
from aiotcp.serve.announcement import announce, announce_live
from aiotcp.serve.certificate import log_keys
from aiotcp.serve.controlled import controlled
from aiotcp.serve.device import Device, open_device
from aiotcp.serve.problems import BadOptions, PortTaken, Problem
from aiotcp.serve.service import Listening, Service, joined
from aiotcp.serve.settings import Settings
from aiotcp.serve.standard import ending_signals
from aiotcp.serve.supervisor import Supervisor
from aiotcp.serve.worker import Worker
from aiotcp.streams import Stack
from aiotcp.transition import Transition

if TYPE_CHECKING:
    from aiotcp.serve.live import Door

try:
    from uvloop import new_event_loop
except ImportError:  # the program works without, at half the speed
    from asyncio import new_event_loop  # type: ignore[assignment]

random.Random(b"")  # imports, in Python 3.13, what a stack takes for its seed

_logger = log.logger("aiotcp.serve")

_CAPTURE_BUFFER_BYTES = 1 << 18

_WIND_UP_S = 5.0
"""Seconds that a service may take to end once its last connection is gone."""


def run(settings: Settings, new_service: Callable[[Sequence[str]], Service]) -> None:
    """Serve until SIGTERM, Ctrl-C or SIGHUP; then return.

    new_service: called with the stack's addresses, after privileges are given up.
    Raises Problem for what a user can mend.
    """
    user = privileges.account(settings.user) if settings.user is not None else None
    device = open_device(settings)
    worker: Worker | None = None
    link: Link = device.tun
    capture: BinaryIO | None = None
    keylog: str | None = None
    door: Door | None = None
    try:
        if settings.certificate is not None:
            keylog = log_keys(settings.certificate, user)
        if settings.capture is not None:
            capture = _open_capture(settings.capture, user)
            link = Capture(link, capture, interface=device.tun.name, keylog=keylog)
        if settings.web is not None:
            from aiotcp.serve.live import Door

            door = Door(*settings.web)
        if user is not None:
            privileges.become(user)
        if device.queues is not None:
            worker = Supervisor(settings, device, door.url if door is not None else None).run()
            if worker is None:
                return
            device, link = worker.device, worker.device.tun
            if door is not None and worker.about["worker"] != 0:
                door.close()
                door = None  # one of them has the page, and shows all
        service = new_service(device.addresses)
        director = _Alone(settings, device) if worker is None else worker
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_serve(settings, device, link, service, director, door))
    except Problem as problem:
        if worker is None:
            raise
        worker.report(problem)
        sys.exit(problem.exit_code)
    finally:
        device.close()
        if door is not None:
            door.close()
        if capture is not None:
            _close_capture(capture, link)


def _open_capture(path: str, user: privileges.Account | None) -> BinaryIO:
    """The file, opened while it still may be.

    One that is new belongs to the user that the program becomes; what was there, a device or what
    a link leads to, keeps its owner.
    """
    new = True
    try:
        try:
            file = open(path, "xb", _CAPTURE_BUFFER_BYTES)  # noqa: SIM115
        except FileExistsError:
            new = False
            file = open(path, "wb", _CAPTURE_BUFFER_BYTES)  # noqa: SIM115
    except OSError as exc:
        raise BadOptions(f"--capture {path}: {exc.strerror}") from None
    if new and user is not None and os.geteuid() == 0:
        os.fchown(file.fileno(), user.uid, user.gid)
    return file


def _close_capture(file: BinaryIO, link: Link) -> None:
    """Never fails: what could not be written is logged."""
    failed = link.counters.get("capture_failed", 0) > 0
    why = "it could not be written"
    try:
        file.close()
    except OSError as exc:
        failed, why = True, exc.strerror or str(exc)
    if failed:
        _logger.warning("capture incomplete", file=file.name, error=why)
    if link.counters.get("keylog_failed"):
        _logger.warning("capture lacks TLS secrets: the key log can't be read", file=file.name)


class _ServedStack(Stack):
    """A stack that logs each transition, and says when its device has gone away."""

    def __init__(
        self,
        link: Link,
        addresses: Sequence[str],
        options: Options,
        seed: bytes | None,
        on_lost: Callable[[OSError], None],
    ) -> None:
        observer = _log_transition if _logger.isEnabledFor(logging.DEBUG) else None
        super().__init__(link, addresses=addresses, options=options, seed=seed, observer=observer)
        self._on_lost = on_lost

    def link_lost(self, exc: OSError) -> None:
        super().link_lost(exc)
        self._on_lost(exc)


def _log_transition(transition: Transition) -> None:
    _logger.debug(
        "transition",
        local=joined(*transition.local),
        remote=joined(*transition.remote),
        old=str(transition.old),
        new=str(transition.new),
        error=transition.error and str(transition.error),
    )


class Director(Protocol):
    """Who starts and stops the service: the user, or for a worker its supervisor."""

    seed: bytes | None
    """As for `Stack`."""

    about: Mapping[str, Any]
    """What `aiotcp info` is to show of it."""

    def listening(self, service: Service, endpoints: Sequence[tuple[str, int]]) -> None:
        """The service accepts connections at these addresses now."""
        ...

    def direct(self, loop: asyncio.AbstractEventLoop, stop: Callable[[str, bool], None]) -> None:
        """Have `stop` called on the loop when it is time; with why, and whether not to wait if it
        has been called before."""
        ...


class _Alone:
    """One process, which people and service managers talk to."""

    seed: bytes | None = None
    about: Mapping[str, Any] = {}

    def __init__(self, settings: Settings, device: Device) -> None:
        self._settings = settings
        self._device = device

    def listening(self, service: Service, endpoints: Sequence[tuple[str, int]]) -> None:
        commands = [service.commands(*each) for each in endpoints]
        announce(self._settings, self._device, service.what, endpoints, commands)

    def direct(self, loop: asyncio.AbstractEventLoop, stop: Callable[[str, bool], None]) -> None:
        for number in ending_signals():
            loop.add_signal_handler(number, stop, number.name, True)


async def _serve(
    settings: Settings,
    device: Device,
    link: Link,
    service: Service,
    director: Director,
    door: Door | None,
) -> None:
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()
    at_once: asyncio.Future[None] = loop.create_future()
    lost: list[OSError] = []

    def on_stop(why: str, again: bool) -> None:
        if not stop.done():
            _logger.info("stopping", signal=why, grace_s=settings.grace)
            _resolve(stop)
        elif again:
            _logger.info("stopping", signal=why, grace_s=0)
            _resolve(at_once)

    def on_lost(exc: OSError) -> None:
        lost.append(exc)
        _resolve(stop)

    def on_listening(endpoints: Sequence[tuple[str, int]]) -> None:
        gc.collect()
        gc.freeze()  # code and configuration stay as they are: no collection has to look at them
        director.listening(service, endpoints)
        _logger.info("serving", what=service.what, endpoints=[joined(*each) for each in endpoints])

    director.direct(loop, on_stop)
    stack = _ServedStack(link, device.addresses, settings.options, director.seed, on_lost)
    about = {"device": device.tun.name, "what": service.what, **director.about}
    serving = asyncio.create_task(_run_service(settings, service, stack, on_listening, about, door))
    serving.add_done_callback(lambda _: _resolve(stop))
    await stop

    deadline = loop.time() + settings.grace
    service.stop()
    await asyncio.wait(
        {at_once, serving}, timeout=settings.grace, return_when=asyncio.FIRST_COMPLETED
    )
    left_s = deadline - loop.time() if serving.done() else 0.0
    closing = asyncio.create_task(stack.aclose(grace=max(0.0, left_s)))
    if not await _before(at_once, closing, None):
        await stack.aclose(grace=0)
    await _before(at_once, serving, _WIND_UP_S)
    if lost:
        raise Problem(f"the device {device.tun.name} has gone away ({lost[0].strerror})")
    if not serving.cancelled():
        serving.result()
    _logger.info("stopped")


async def _run_service(
    settings: Settings,
    service: Service,
    stack: Stack,
    listening: Listening,
    about: Mapping[str, Any],
    door: Door | None,
) -> None:
    def told(endpoints: Sequence[tuple[str, int]]) -> None:
        listening(endpoints)
        if door is not None and "worker" not in about:
            announce_live(door.url)

    try:
        async with controlled(settings, stack, about), _live(settings, stack, about, door):
            await service.run(stack, told)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise PortTaken(f"{exc.strerror}: choose another --port") from None
        raise


@contextlib.asynccontextmanager
async def _live(
    settings: Settings, stack: Stack, about: Mapping[str, Any], door: Door | None
) -> AsyncIterator[None]:
    """The live view, where there is to be one: of this stack, or of all workers' ones."""
    if door is None:
        yield
        return
    from aiotcp.serve import views
    from aiotcp.serve.live import live

    look: Callable[[], views.View] = functools.partial(views.OwnView, stack)
    if "worker" in about:
        look = functools.partial(views.workers_view, settings, about["group"])
    async with live(look, door):
        yield


async def _before(
    at_once: asyncio.Future[None], task: asyncio.Task[None], timeout_s: float | None
) -> bool:
    """Wait for `task`, at most until `at_once` or the timeout; then cancel it. Whether it ended."""
    await asyncio.wait({at_once, task}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    ended = task.done()
    if not ended:
        task.cancel()
        await asyncio.wait({task})
    return ended


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
