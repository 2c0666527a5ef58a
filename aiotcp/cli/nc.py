"""`aiotcp nc`: stdin and stdout at the ends of one connection, as netcat has it, on a stack of its
own behind a TUN device."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import socket
import sys
import threading
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import click

from aiotcp import control
from aiotcp.link.base import Link
from aiotcp.serve.problems import Problem
from aiotcp.serve.settings import Settings, checked_addresses
from aiotcp.serve.standard import Seconds
from aiotcp.serve.tunables import read_options
from aiotcp.streams import Stack

_CHUNK_BYTES = 1 << 16
_GRACE_S = 2.0
_BY_SIGNAL = 128
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class _Failed(click.ClickException):
    """Of the connection. Exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"aiotcp nc: {self.format_message()}", file=file, err=file is None)


class _NoOutput(_Failed):
    """Stdout takes no more. Exit code 1."""


class _NoReader(_NoOutput):
    """Because its reader has gone: nobody is told so."""

    exit_code = _BY_SIGNAL + signal.SIGPIPE

    def show(self, file: Any = None) -> None:
        pass


@click.command(
    epilog="Exit codes: 0 the connection was opened, and closed by both sides; 1 it was not, or "
    "was reset; 2 options; 3 no /dev/net/tun; 4 no permission; 5 addresses in use elsewhere; "
    "6 device in use; 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP: the connection is "
    "closed first; 141 nobody reads stdout any more."
)
@click.option("-l", "--listen", is_flag=True, help="Wait for a connection.")
@click.option("-k", "--keep-open", is_flag=True, help="With -l: and then for the next one.")
@click.option("-v", "--verbose", is_flag=True, help="Say on stderr what happens.")
@click.option("-z", "--zero", is_flag=True, help="Connect, and close: is anybody there?")
@click.option("-4", "ipv4", is_flag=True, help="IPv4 only.")
@click.option("-6", "ipv6", is_flag=True, help="IPv6 only.")
@click.option("-s", "--source", metavar="ADDRESS", help="Which of the stack's addresses to use.")
@click.option(
    "-p", "--source-port", type=click.IntRange(1, 65535), metavar="PORT", help="Local port."
)
@click.option(
    "-w",
    "--wait",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="How long connecting may take. [default: as long as TCP tries]",
)
@click.option("--device", metavar="NAME", help="Name of the TUN device. [default: aiotcp0, …]")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="ADDRESS",
    help="Address of the stack; repeat for more. [default: 192.0.2.2 and fd61:696f:7463:70::2]",
)
@click.option(
    "--host-address",
    "host_addresses",
    multiple=True,
    metavar="ADDRESS/PREFIX",
    help="This machine's address on the device. [default: 192.0.2.1/24 and "
    "fd61:696f:7463:70::1/64]",
)
@click.option("--mtu", type=click.IntRange(576, 65535), help="Bytes in a packet. [default: 1500]")
@click.option("--offload/--no-offload", default=True, help="As of aiotcp-serve.")
@click.option("--configure/--no-configure", default=True, help="As of aiotcp-serve.")
@click.option(
    "-o", "tunables", multiple=True, metavar="NAME=VALUE", help="An option of the TCP: -o cc=bbr."
)
@click.option(
    "--capture",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all packets to a pcapng file, each with the reason why it was sent.",
)
@click.argument("host", required=False)
@click.argument("port", required=False)
def command(host: str | None, port: str | None, **options: Any) -> None:
    """Connect stdin and stdout to PORT of HOST, or, with -l, to whoever connects to PORT [of the
    stack's address HOST].

    The connection is one of a stack of its own, behind a TUN device that lasts as long as the
    program: HOST is this machine's address on it, or one that this machine forwards to.

      aiotcp nc 192.0.2.1 8000

      aiotcp nc -l 8000

    The end of stdin ends what is sent (FIN), and not what comes.
    """
    if options["listen"] and port is None:
        host, port = None, host
    if port is None or (host is None and not options["listen"]):
        raise click.UsageError("HOST and PORT, or -l PORT")
    if options["keep_open"] and not options["listen"]:
        raise click.UsageError("-k needs -l")
    if options["listen"] and (options["zero"] or options["source_port"] or options["source"]):
        raise click.UsageError("-z, -s and -p are for connecting")
    family = (
        socket.AF_UNSPEC
        if options["ipv4"] == options["ipv6"]
        else socket.AF_INET
        if options["ipv4"]
        else socket.AF_INET6
    )
    try:
        netcat = _Netcat(_settings(options), host, _number(port), family, options)
        netcat.run()
    except Problem as problem:
        _Failed(problem.format_message()).show()  # in our name, not in that of aiotcp-serve
        raise SystemExit(problem.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(_BY_SIGNAL + signal.SIGINT) from None


def _number(port: str) -> int:
    if port.isascii() and port.isdigit() and 0 < int(port) <= 0xFFFF:
        return int(port)
    try:
        return socket.getservbyname(port, "tcp")
    except OSError:
        raise click.UsageError(f"{port}: neither a port's number nor a known service") from None


def _settings(options: dict[str, Any]) -> Settings:
    addresses, hosts = checked_addresses(
        options["addresses"], options["host_addresses"], options["configure"]
    )
    if not options["configure"] and options["device"] is None:
        raise click.UsageError("--no-configure needs --device: the one that is set up already")
    return Settings(
        device=options["device"] or "aiotcp%d",
        addresses=addresses,
        host_addresses=hosts,
        mtu=options["mtu"],
        offload=options["offload"],
        configure=options["configure"],
        options=read_options(options["tunables"]),
    )


class _Netcat:
    """One run. Raises Problem for the device, _Failed for the connection."""

    def __init__(
        self,
        settings: Settings,
        host: str | None,
        port: int,
        family: int,
        options: dict[str, Any],
    ) -> None:
        self._settings = settings
        self._host = host
        self._port = port
        self._family = family
        self._options = options
        self._stdin: _Stdin | None = None
        self._stdout: _Stdout | None = None
        self._ended_by = 0

    def run(self) -> None:
        from aiotcp.serve.device import open_device

        try:
            from uvloop import new_event_loop
        except ImportError:
            from asyncio import new_event_loop  # type: ignore[assignment]

        capture = self._options["capture"]
        device = open_device(self._settings, "nc")
        try:
            link: Link = device.tun
            if capture is not None:
                from aiotcp.link.pcapng import Capture

                try:
                    link = Capture(link, capture, interface=device.tun.name)
                except OSError as exc:
                    raise click.UsageError(f"--capture {capture}: {exc.strerror}") from None
            has = ", ".join(device.host_addresses) or "set up by someone else"
            self._say(f"{device.tun.name}: {has}; the stack is {', '.join(device.addresses)}")
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._on_stack(link, device.tun.name, device.addresses))
        except asyncio.CancelledError:
            raise SystemExit(_BY_SIGNAL + self._ended_by) from None
        finally:
            device.close()

    def _say(self, text: str) -> None:
        if self._options["verbose"]:
            click.echo(text, err=True)

    def _end_by_signals(self) -> None:
        """As Ctrl-C does: the other side is told. A second one is not waited for."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end(number: int) -> None:
            self._ended_by = number
            task.cancel()
            loop.remove_signal_handler(number)

        for number in _ENDING:
            if signal.getsignal(number) == signal.SIG_DFL:  # and not ignored, as by nohup
                loop.add_signal_handler(number, end, number)

    async def _on_stack(self, link: Link, device: str, addresses: tuple[str, ...]) -> None:
        self._end_by_signals()
        async with AsyncExitStack() as closing:
            stack = Stack(link, addresses=addresses, options=self._settings.options)
            closing.push_async_callback(stack.aclose, _GRACE_S)
            with suppress(OSError):  # to be watched is not what it is for
                await closing.enter_async_context(
                    control.serve(stack, name="aiotcp nc", device=device)
                )
            if self._options["listen"]:
                await self._listen(stack)
            else:
                await self._connect(stack)

    async def _connect(self, stack: Stack) -> None:
        options = self._options
        local = None
        if options["source"] or options["source_port"]:
            local = (options["source"] or self._any_address(), options["source_port"] or 0)
        try:
            async with asyncio.timeout(options["wait"]):
                reader, writer = await stack.open_connection(
                    self._host, self._port, local_addr=local, family=self._family
                )
        except TimeoutError as exc:
            why = _words(exc) if exc.errno else f"no answer within {options['wait']:g} s"
            raise _Failed(f"{self._host} {self._port}: {why}") from None
        except OSError as exc:
            raise _Failed(f"{self._host} {self._port}: {_words(exc)}") from None
        self._say(f"connected: {_name(writer, 'sockname')} to {_name(writer, 'peername')}")
        if options["zero"]:
            writer.close()
            return
        await self._talk(reader, writer)

    def _any_address(self) -> str:
        return "0.0.0.0" if ":" not in (self._host or "") else "::"

    async def _listen(self, stack: Stack) -> None:
        came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        try:
            server = await stack.start_server(
                lambda reader, writer: came.put_nowait((reader, writer)),
                self._host or _of_family(list(stack.addresses), self._family),
                self._port,
                family=self._family,
                backlog=1,
            )
        except OSError as exc:
            raise _Failed(f"{self._host or ''} {self._port}: {_words(exc)}") from None
        at = " and ".join(_spelled(sock.getsockname()) for sock in server.sockets)
        self._say(f"listening at {at}")
        while True:
            reader, writer = await came.get()
            self._say(f"connected: {_name(writer, 'peername')} to {_name(writer, 'sockname')}")
            if not self._options["keep_open"]:
                server.close()
                while not came.empty():  # one only
                    came.get_nowait()[1].transport.abort()
            try:
                await self._talk(reader, writer)
            except _Failed as exc:
                if not self._options["keep_open"] or isinstance(exc, _NoOutput):
                    raise
                exc.show()
            if not self._options["keep_open"]:
                return

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until both sides have ended; at a terminal, until the other one has."""
        loop = asyncio.get_running_loop()
        if self._stdin is None:
            self._stdin = _Stdin(loop)
        if self._stdout is None:
            self._stdout = _Stdout(loop)
        counts = {"sent": 0, "received": 0}
        sending = asyncio.create_task(self._send(self._stdin, writer, counts))
        try:
            while data := await reader.read(_CHUNK_BYTES):
                counts["received"] += len(data)
                await self._stdout.write(data)
            if sys.stdin is not None and sys.stdin.isatty():
                sending.cancel()
            await asyncio.wait({sending})
            if not sending.cancelled():
                sending.result()
            writer.close()
            await writer.wait_closed()
        except OSError as exc:
            raise _Failed(f"the connection is lost: {_words(exc)}") from None
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending
            writer.close()
            self._say(f"sent {counts['sent']} bytes, received {counts['received']} bytes")

    async def _send(
        self, stdin: _Stdin, writer: asyncio.StreamWriter, counts: dict[str, int]
    ) -> None:
        while data := await stdin.read():
            writer.write(data)
            counts["sent"] += len(data)
            await writer.drain()
        writer.write_eof()


class _Stdin:
    """Read by a thread: it may be a file, a pipe or a terminal, and none of them must hold up the
    stack. The thread ends with the program."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(4)
        self._ended = False
        threading.Thread(target=self._run, args=(loop,), daemon=True).start()

    async def read(self) -> bytes:
        """Empty at the end, and from then on."""
        if self._ended:
            return b""
        data = await self._pieces.get()
        self._ended = not data
        return data

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            try:
                data = os.read(0, _CHUNK_BYTES)
            except OSError:
                data = b""
            putting = self._pieces.put(data)
            try:
                asyncio.run_coroutine_threadsafe(putting, loop).result()
            except (RuntimeError, CancelledError):
                putting.close()
                return  # the loop is closed
            if not data:
                return


class _Stdout:
    """Written by a thread, which ends with the program, though nobody may read what it writes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pieces: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def write(self, data: bytes) -> None:
        """Returns once it has left. Raises _NoOutput."""
        written = self._loop.create_future()
        self._pieces.put((data, written))
        await written

    def _run(self) -> None:
        while True:
            data, written = self._pieces.get()
            failure: _NoOutput | None = None
            try:
                _write_all(data)
            except BrokenPipeError:
                failure = _NoReader("nobody reads what comes")
            except OSError as exc:
                failure = _NoOutput(f"stdout: {exc.strerror}")
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(_settle, written, failure)


def _settle(future: asyncio.Future[None], failure: Exception | None) -> None:
    if future.done():
        return  # nobody waits any more
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)


def _write_all(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]


def _words(exc: OSError) -> str:
    """The system's, without asyncio's and without the number."""
    return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or str(exc)


def _of_family(addresses: list[str], family: int) -> list[str]:
    if family == socket.AF_UNSPEC:
        return addresses
    return [each for each in addresses if (":" in each) == (family == socket.AF_INET6)]


def _name(writer: asyncio.StreamWriter, which: str) -> str:
    return _spelled(writer.get_extra_info(which))


def _spelled(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
