"""The process that starts the workers, starts those again that crash, and ends them all.

It has the device's queues open, and so keeps them in place (`aiotcp.link.queues`), and does nothing
else: no packet and no connection passes through it. It runs no event loop, so it can fork: a worker
is a copy of a process that has read the certificate and given up its privileges already, and goes
on from there as the one process does without `--workers`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiotcp import log
from aiotcp.serve.announcement import announce, announce_live
from aiotcp.serve.device import Device
from aiotcp.serve.problems import Problem, problem_of
from aiotcp.serve.settings import Settings
from aiotcp.serve.standard import ending_signals
from aiotcp.serve.worker import MESSAGE_BYTES, NOW, STOP, Worker

_logger = log.logger("aiotcp.serve")

FAILURES_MAX = 5
"""A worker that ends so often in a row as soon as it was started ends the program."""

SOON_S = 1.0
"""Seconds for which a worker is to serve before its end is no failure to start."""

RETRY_S = 0.1
"""Seconds before the second start after a failure; doubled for each one that follows."""

OVERTIME_S = 10.0
"""Seconds beyond the grace that a worker has to end; then it is killed."""


@dataclass(slots=True)
class _Place:
    """A queue, and the worker that has it. pid 0: none, the next one starts at `start_at`."""

    index: int
    pid: int = 0
    pidfd: int = -1
    channel: socket.socket | None = None
    listening: list[tuple[str, int]] = field(default_factory=list)
    since: float = 0.0
    failures: int = 0
    start_at: float = 0.0


class Supervisor:
    """settings.workers processes on the queues of `device`, from start to end. live: the address
    of the live view."""

    def __init__(self, settings: Settings, device: Device, live: str | None = None) -> None:
        assert device.queues is not None
        self._settings = settings
        self._live = live
        self._device = device
        self._queues = device.queues
        self._seed = os.urandom(32)
        self._places = [_Place(index) for index in range(len(self._queues.tuns))]
        # The first alone: what no worker can do is said once.
        self._due = self._places[:1]
        self._listening: list[tuple[str, int]] = []
        self._announced = False
        self._stopping = False
        self._kill_at = float("inf")
        self._problem: Problem | None = None
        # No epoll: that one would be shared with the workers, which take leave of it.
        self._selector = selectors.PollSelector()
        self._signals: socket.socket | None = None

    def run(self) -> Worker | None:
        """Returns None once all workers have ended, as they were told to; and in each worker, what
        it is. Raises Problem where there is one."""
        with _signals_as_packets() as self._signals:
            self._selector.register(self._signals, selectors.EVENT_READ, self._on_signal)
            while self._due or any(place.pid for place in self._places):
                worker = self._start_those_due()
                if worker is not None:
                    return worker
                for key, _ in self._selector.select(self._timeout()):
                    key.data()
                if time.monotonic() >= self._kill_at:
                    self._kill()
        if self._problem is not None:
            raise self._problem
        _logger.info("stopped")
        return None

    def _timeout(self) -> float | None:
        next_at = min([self._kill_at, *(place.start_at for place in self._due)])
        return None if next_at == float("inf") else max(0.0, next_at - time.monotonic())

    # A worker's start

    def _start_those_due(self) -> Worker | None:
        now = time.monotonic()
        while place := next((each for each in self._due if each.start_at <= now), None):
            self._due.remove(place)
            worker = self._start(place)
            if worker is not None:
                return worker
        return None

    def _start(self, place: _Place) -> Worker | None:
        """In the new process, returns what it is."""
        # A signal for the copy must not find our handlers in it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ending_signals())
        try:
            try:
                pid, pidfd, channel = _fork()
            except OSError as exc:
                self._start_again(place, f"no process for it: {exc.strerror}")
                return None
            if pid == 0:
                return self._become_worker(place, channel)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        channel.setblocking(False)
        place.pid, place.pidfd, place.channel = pid, pidfd, channel
        place.listening = []
        place.since = time.monotonic()
        self._selector.register(pidfd, selectors.EVENT_READ, lambda: self._on_end(place))
        self._selector.register(channel, selectors.EVENT_READ, lambda: self._on_message(place))
        return None

    def _become_worker(self, place: _Place, channel: socket.socket) -> Worker:
        """Let go of all that is the supervisor's, but for what the end of `run` takes care of."""
        for other in self._places:
            if other.channel is not None:
                other.channel.close()
            if other.pid:
                os.close(other.pidfd)
        for tun in self._queues.tuns:
            if tun is not self._queues.tuns[place.index]:
                tun.close()
        if self._settings.ready_fd is not None and not self._announced:
            os.close(self._settings.ready_fd)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):  # the supervisor has them as well
            signal.signal(number, signal.SIG_IGN)
        log.bind(worker=place.index)
        device = dataclasses.replace(self._device, tun=self._queues.tuns[place.index])
        return Worker(device, channel, self._seed, place.index)

    # What happens

    def _on_message(self, place: _Place) -> bool:
        """Whether there may be more."""
        if place.channel is None:
            return False
        try:
            data = place.channel.recv(MESSAGE_BYTES)
        except OSError:  # nothing there now, or nobody any more
            return False
        if not data:
            self._hang_up(place)
            return False
        message: dict[str, Any] = json.loads(data)
        if "problem" in message:
            self._fail(problem_of(message["code"], message["problem"]))
        else:
            place.listening = [(host, port) for host, port in message["listening"]]
            place.since = time.monotonic()
            self._on_listening(place, message)
        return True

    def _hang_up(self, place: _Place) -> None:
        if place.channel is not None:
            self._selector.unregister(place.channel)
            place.channel.close()
            place.channel = None

    def _on_listening(self, place: _Place, message: dict[str, Any]) -> None:
        if self._stopping:
            return
        if not self._listening:
            self._listening = place.listening
            self._due.extend(other for other in self._places if other is not place)
        if place.listening != self._listening:
            self._fail(Problem(f"worker {place.index} listens elsewhere than the others"))
        elif not self._announced and all(other.listening for other in self._places):
            self._announced = True
            commands = message["commands"]
            try:
                announce(self._settings, self._device, message["what"], place.listening, commands)
                if self._live is not None:
                    announce_live(self._live)
            except Problem as problem:
                self._fail(problem)

    def _on_end(self, place: _Place) -> None:
        while self._on_message(place):
            pass  # its last words
        self._hang_up(place)
        _, status = os.waitpid(place.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._selector.unregister(place.pidfd)
        os.close(place.pidfd)
        pid, place.pid = place.pid, 0
        how = f"signal {_name(-code)}" if code < 0 else f"exit code {code}"
        if not self._stopping:
            self._start_again(place, how, pid)
        elif code not in (0, -signal.SIGTERM) and self._problem is None:
            self._problem = Problem(f"worker {place.index} has ended with {how}")

    def _start_again(self, place: _Place, how: str, pid: int = 0) -> None:
        """Once its worker has ended. pid 0: there was none to be had."""
        if not self._announced:
            self._fail(Problem(f"worker {place.index} has ended while it started: {how}"))
            return
        soon = not pid or not place.listening or time.monotonic() < place.since + SOON_S
        place.failures = place.failures + 1 if soon else 0
        if place.failures >= FAILURES_MAX:
            often = f"{place.failures} times in a row"
            self._fail(
                Problem(f"worker {place.index} has ended as soon as it started, {often}: {how}")
            )
            return
        wait_s = RETRY_S * 2 ** (place.failures - 2) if place.failures > 1 else 0.0
        _logger.warning("worker ended", worker=place.index, pid=pid, how=how, next_in_s=wait_s)
        place.start_at = time.monotonic() + wait_s
        self._due.append(place)

    # The end

    def _on_signal(self) -> None:
        assert self._signals is not None
        for number in self._signals.recv(16):
            name = signal.Signals(number).name
            _logger.info(
                "stopping", signal=name, grace_s=0 if self._stopping else self._settings.grace
            )
            self._stop(NOW if self._stopping else STOP)

    def _fail(self, problem: Problem) -> None:
        if self._problem is None:
            self._problem = problem
        self._stop(STOP)

    def _stop(self, message: bytes) -> None:
        self._stopping = True
        self._due.clear()
        grace = self._settings.grace if message == STOP else 0.0
        self._kill_at = min(self._kill_at, time.monotonic() + grace + OVERTIME_S)
        for place in self._places:
            if place.pid and place.channel is not None:
                with contextlib.suppress(OSError):  # it has gone by itself
                    place.channel.send(message)
            if place.pid and not place.listening:
                # What it starts with may take for ever, and then it reads no messages.
                signal.pidfd_send_signal(place.pidfd, signal.SIGTERM)

    def _kill(self) -> None:
        self._kill_at = float("inf")
        for place in self._places:
            if place.pid:
                _logger.warning(
                    "worker killed: it would not end", worker=place.index, pid=place.pid
                )
                signal.pidfd_send_signal(place.pidfd, signal.SIGKILL)


def _fork() -> tuple[int, int, socket.socket]:
    """A new process: its id, a descriptor of it, the socket to it; in itself 0, -1, and the socket
    to us. Raises OSError where one more is not to be had."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = -1
    try:
        pid = os.fork()
        if pid == 0:
            ours.close()
            return 0, -1, theirs
        pidfd = os.pidfd_open(pid)
    except OSError:
        if pid > 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        ours.close()
        theirs.close()
        raise
    theirs.close()
    return pid, pidfd, ours


def _name(number: int) -> str:
    """Of a signal. Most real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


@contextlib.contextmanager
def _signals_as_packets() -> Iterator[socket.socket]:
    """Those that end it, each a byte that can be read from the socket; as before at the end."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    numbers = ending_signals()
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    ours = os.getpid()
    try:
        yield reading
    finally:
        if os.getpid() == ours:
            signal.set_wakeup_fd(wakeup)
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
        reading.close()
        writing.close()
