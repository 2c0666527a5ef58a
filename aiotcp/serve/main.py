"""The command line of aiotcp-serve. What takes time to import is imported by what needs it."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from aiotcp.serve.problems import BadOptions, NoPermission
from aiotcp.serve.settings import Settings, checked_addresses
from aiotcp.serve.standard import Seconds, open_standard_files
from aiotcp.serve.start import interruptible
from aiotcp.serve.tunables import read_options, table
from aiotcp.tcp import COMPILED

_Command = TypeVar("_Command", bound=Callable[..., Any])


def main() -> None:
    """The console script."""
    open_standard_files()
    cli(prog_name="aiotcp-serve")


class _Quiet(click.Group):
    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:  # before it serves; then it is a signal that is waited for
            sys.exit(128 + signal.SIGINT)


@click.group(
    cls=_Quiet,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 stopped by SIGTERM, Ctrl-C or SIGHUP; 1 failed; 2 options; "
    "3 no /dev/net/tun; 4 no permission; 5 addresses in use elsewhere; 6 device in use; "
    "7 port taken; 8 no such ASGI application; 130 Ctrl-C before it serves.",
)
@click.version_option(
    package_name="aiotcp",
    message="%(prog)s, version %(version)s" + (", compiled" if COMPILED else ""),
)
def cli() -> None:
    """Serve on a TCP stack of our own, on a TUN device of this machine.

    Everything is done by this process: the kernel only carries packets to and from the device.
    """


def _descriptor(context: click.Context, option: click.Parameter, value: int | None) -> int | None:
    if value is not None:
        try:
            os.fstat(value)
        except (OSError, OverflowError):
            raise click.BadParameter(f"{value} is no open file descriptor") from None
    return value


def _ready_descriptor(
    context: click.Context, option: click.Parameter, value: int | None
) -> int | None:
    if value is not None and 0 <= value <= 2:
        raise click.BadParameter(f"{value} is stdin, stdout or stderr: give one of its own, from 3")
    _descriptor(context, option, value)
    if value is not None and fcntl.fcntl(value, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise click.BadParameter(f"{value} is not open for writing")
    return value


def _web_address(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise click.BadParameter(f"{value}: not HOST:PORT, as in 127.0.0.1:8000")
    return host.strip("[]"), int(port)


def _tunables(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    if "help" in values and not context.resilient_parsing:
        click.echo(table())
        context.exit()
    return values


_OPTIONS = (
    click.option("--device", metavar="NAME", help="Name of the TUN device. [default: aiotcp0, …]"),
    click.option(
        "--address",
        "addresses",
        metavar="ADDRESS",
        multiple=True,
        help="Address of the stack, IPv4 or IPv6; repeat for more. "
        "[default: 192.0.2.2 and fd61:696f:7463:70::2]",
    ),
    click.option(
        "--host-address",
        "host_addresses",
        metavar="ADDRESS/PREFIX",
        multiple=True,
        help="This machine's address on the device; packets to the prefix go to the stack. "
        "[default: 192.0.2.1/24 and fd61:696f:7463:70::1/64]",
    ),
    click.option(
        "--mtu",
        type=click.IntRange(576, 65535),
        help="Bytes in a packet. [default: 1500; that of the device with --no-configure or --fd]",
    ),
    click.option(
        "--offload/--no-offload",
        default=True,
        help="Let the kernel checksum and segment, where it can.",
        show_default=True,
    ),
    click.option(
        "--capture",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Write all packets to a pcapng file, each with the reason why it was sent; with "
        "--certfile and SSLKEYLOGFILE set, TLS secrets, too.",
    ),
    click.option(
        "-o",
        "tunables",
        multiple=True,
        callback=_tunables,
        metavar="NAME=VALUE",
        help="Set an option of the TCP, as in -o cc=bbr; repeat for more. -o help lists them.",
    ),
    # Spelled as by SSLContext.load_cert_chain(), gunicorn and hypercorn.
    click.option(
        "--certfile",
        metavar="FILE",
        help="Speak TLS, with the certificate chain in this file (PEM). It is read before --user.",
    ),
    click.option(
        "--keyfile",
        metavar="FILE",
        help="The certificate's private key, without a passphrase. [default: in --certfile]",
    ),
    click.option("--user", metavar="NAME", help="Become this user once the device is open."),
    click.option(
        "--fd",
        type=int,
        callback=_descriptor,
        metavar="N",
        help="Use the TUN device that this inherited file descriptor is attached to.",
    ),
    click.option(
        "--configure/--no-configure",
        default=True,
        help="Whether to set addresses and MTU of the device, and bring it up; --no-configure with "
        "--device takes one that someone else has set up, without any privilege.",
        show_default=True,
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 256),
        default=1,
        show_default=True,
        metavar="N",
        help="Processes that share the load, each with a queue of the device and the connections "
        "that come to it. One that crashes is started again; the others go on.",
    ),
    click.option(
        "--control",
        metavar="PATH|off",
        help="Where the socket is at which `aiotcp ss`, `stat` and `capture` ask, for this user "
        "and root only; with --workers, PATH.0, PATH.1 and so on. [default: a place of its own, "
        "where aiotcp finds it]",
    ),
    click.option(
        "--web",
        is_flag=False,
        flag_value="127.0.0.1:0",
        callback=_web_address,
        metavar="[HOST:PORT]",
        help="Show the connections, with --workers those of all, and one of them as it happens, on "
        "a page of this machine's own network; its address, which nobody else knows, is printed. "
        "[default: off; without HOST:PORT, 127.0.0.1 and a free port]",
    ),
    click.option(
        "--log",
        "log_format",
        type=click.Choice(["console", "json"]),
        default="console",
        show_default=True,
        help="Format of the log, on stderr.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        default="info",
        show_default=True,
        help="Least level to log; debug shows each transition of each connection.",
    ),
    click.option(
        "--ready-fd",
        type=int,
        callback=_ready_descriptor,
        metavar="N",
        help="Once serving, write a line to this file descriptor and close it: READY, then "
        "ADDRESS:PORT or [ADDRESS]:PORT for each address.",
    ),
    click.option(
        "--grace",
        type=Seconds(min=0),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="On SIGTERM, Ctrl-C or SIGHUP every connection is closed with FIN; those that do not "
        "end within this time are reset. A second signal ends the wait.",
    ),
)


def _port(default: int) -> Callable[[_Command], _Command]:
    return click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=default,
        show_default=True,
        help="TCP port of the stack, needs no privilege; 0 picks one.",
    )


def _web_port(command: _Command) -> _Command:
    return click.option(
        "--port",
        type=click.IntRange(0, 65535),
        help="TCP port of the stack, needs no privilege; 0 picks one. "
        "[default: 80; 443 with --certfile]",
    )(command)


def _shared(command: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@cli.command()
@_port(7)
@_shared
def echo(port: int, **options: Any) -> None:
    """Send back whatever arrives."""
    settings = _settings(**options)
    from aiotcp.serve.echo import Echo

    _run(settings, lambda hosts: Echo(hosts, port, settings.certificate))


@cli.command()
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="Serve the files below this directory. Without it: a page with the live connections, "
    "and the same as /connections.json; with --workers, those of the one that answers.",
)
@_web_port
@_shared
def http(root: str | None, port: int | None, **options: Any) -> None:
    """Serve files, or a page that shows the stack's live connections."""
    settings = _settings(**options)
    from aiotcp.serve import pages, privileges
    from aiotcp.serve.web import Web, preload

    preload()
    port = _chosen(port, settings)
    if root is None:
        _run(
            settings,
            lambda hosts: Web(
                "live connections",
                pages.connections,
                hosts,
                port,
                lifespan="off",
                grace=settings.grace,
                certificate=settings.certificate,
            ),
        )
        return
    user = settings.user
    if privileges.is_root() and (user is None or privileges.account(user).uid == 0):
        raise BadOptions(
            f"refusing to serve files as root: with --user NAME only what NAME may read in {root} "
            "is served",
        )
    directory = os.path.realpath(root)

    def files(hosts: Sequence[str]) -> Web:
        if not os.access(directory, os.R_OK | os.X_OK):
            raise NoPermission(f"--root {root}: not readable for this user")
        return Web(
            f"files below {directory}",
            lambda _: pages.directory(directory),
            hosts,
            port,
            lifespan="off",
            grace=settings.grace,
            certificate=settings.certificate,
        )

    _run(settings, files)


@cli.command()
@click.argument("application", metavar="MODULE:APP")
@_web_port
@_shared
def asgi(application: str, port: int | None, **options: Any) -> None:
    """Serve the ASGI application APP of the Python module MODULE."""
    settings = _settings(**options)
    if not all(application.partition(":")):
        raise click.BadArgumentUsage(f"{application}: not MODULE:APP, as in example.main:app")
    from aiotcp.serve.web import Web, load, preload

    preload()
    port = _chosen(port, settings)

    def loaded(hosts: Sequence[str]) -> Web:
        app = load(application)
        return Web(
            application,
            lambda _: app,
            hosts,
            port,
            grace=settings.grace,
            certificate=settings.certificate,
        )

    _run(settings, loaded)


def _settings(
    *,
    device: str | None,
    addresses: tuple[str, ...],
    host_addresses: tuple[str, ...],
    log_format: Any,
    log_level: str,
    fd: int | None,
    configure: bool,
    ready_fd: int | None,
    tunables: tuple[str, ...],
    certfile: str | None,
    keyfile: str | None,
    workers: int,
    capture: str | None,
    web: tuple[str, int] | None,
    **others: Any,
) -> Settings:
    if workers > 1 and fd is not None:
        raise click.UsageError("--workers needs a queue for each: --fd has one only")
    if workers > 1 and capture is not None:
        raise click.UsageError(
            "--capture is for one process; for --workers there is tcpdump -i DEVICE"
        )
    if workers > 1 and web is not None and others["control"] == "off":
        raise click.UsageError(
            "--web with --workers asks each of them at its control socket: not with --control off"
        )
    if fd is not None and fd == ready_fd:
        raise click.UsageError("--fd and --ready-fd are the same descriptor")
    if fd is not None and device is not None:
        raise click.UsageError("--fd and --device exclude each other: the descriptor has a device")
    if not configure and fd is None and device is None:
        raise click.UsageError("--no-configure needs --device: the one that is set up already")
    configure = configure and fd is None
    checked, hosts = checked_addresses(addresses, host_addresses, configure)
    options = read_options(tunables)
    if keyfile is not None and certfile is None:
        raise click.UsageError("--keyfile needs --certfile: the certificate that it belongs to")
    certificate = None
    if certfile is not None:
        from aiotcp.serve.certificate import load

        certificate = load(certfile, keyfile)
    if web is not None:
        from aiotcp.serve import live
        from aiotcp.serve.web import preload

        preload()
        live.page()
    from aiotcp import log

    log.configure(log_format, log_level)
    return Settings(
        device=device if device is not None else "aiotcp%d",
        addresses=checked,
        host_addresses=hosts,
        fd=fd,
        configure=configure,
        ready_fd=ready_fd,
        options=options,
        certificate=certificate,
        workers=workers,
        capture=capture,
        web=web,
        **others,
    )


def _chosen(port: int | None, settings: Settings) -> int:
    if port is not None:
        return port
    return 80 if settings.certificate is None else 443


def _run(settings: Settings, new_service: Callable[[Sequence[str]], Any]) -> None:
    from aiotcp.serve.program import run

    interruptible()
    run(settings, new_service)
