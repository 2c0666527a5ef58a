"""asyncssh on the stack: its server with OpenSSH's client on the kernel's side, and its client with
OpenSSH's server, or its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from aiotcp import Stack
from aiotcp.link import network
from tests.integration.processes import Process, commoner
from tests.integration.world import (
    GUARD_S,
    HOST,
    STACK,
    Net,
    kernel_side,
    stack_asks,
    stack_serves,
)
from tests.support.hosts import V4

PORT = 2222
ECHO = 7
DATA = hashlib.shake_256(b"ssh").digest(3 << 20)

openssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client here")


@dataclass
class Keys:
    """A host's key and a user's, each in a file, and what the other side trusts."""

    directory: Path
    host: Any = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    user: Any = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))

    def __post_init__(self) -> None:
        self.host.write_private_key(self.directory / "host")
        self.user.write_private_key(self.directory / "user")
        self.user.write_public_key(self.directory / "authorized")
        public = self.host.export_public_key().decode()
        lines = [f"[{address}]:{PORT} {public}" for address in (HOST, STACK)]
        (self.directory / "known").write_text("".join(lines))
        (self.directory / "user").chmod(0o600)
        (self.directory / "host").chmod(0o600)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    (tmp_path / "keys").mkdir()
    return Keys(tmp_path / "keys")


# asyncssh's server


class Server(asyncssh.SSHServer):
    """Forwards whatever it is asked for."""

    def __init__(self, connections: list[Any]) -> None:
        self.connections = connections

    def connection_made(self, connection: Any) -> None:
        self.connections.append(connection)

    def connection_requested(self, *where: Any) -> bool:
        return True

    def server_requested(self, *where: Any) -> bool:
        return True


async def run_command(process: Any) -> None:
    """Of a shell only `cat` and `exit N`."""
    command, *arguments = process.command.split()
    if command == "cat":
        while piece := await process.stdin.read(1 << 16):
            process.stdout.write(piece)
            await process.stdout.drain()
        process.exit(0)
    else:
        process.stderr.write(b"leaving\n")
        process.exit(int(arguments[0]))


@asynccontextmanager
async def asyncssh_server(keys: Keys, address: str, root: Path) -> AsyncIterator[list[Any]]:
    """Gives the list of its connections."""
    connections: list[Any] = []
    async with asyncssh.listen(
        address,
        PORT,
        server_factory=lambda: Server(connections),
        server_host_keys=[keys.host],
        authorized_client_keys=str(keys.directory / "authorized"),
        process_factory=run_command,
        encoding=None,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(root)),
    ):
        yield connections


@asynccontextmanager
async def echo_server(peers: list[str]) -> AsyncIterator[None]:
    """Sends back what it got once it has all."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, HOST, ECHO)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


# It serves on the stack, and OpenSSH's programs come from the kernel


class OpenSSH:
    """The client programs, in threads."""

    def __init__(self, keys: Keys) -> None:
        known, key = keys.directory / "known", keys.directory / "user"
        self.options = ["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        self.options += ["-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes"]
        self.options += ["-o", "IdentityAgent=none", "-i", str(key)]

    async def __call__(self, *argv: str | Path, data: bytes = b"") -> Any:
        program, *rest = argv
        return await asyncio.to_thread(
            subprocess.run,
            [program, *self.options, *rest],
            input=data,
            capture_output=True,
            timeout=GUARD_S,
        )

    async def ssh(self, *argv: str, data: bytes = b"") -> Any:
        return await self("ssh", "-p", str(PORT), f"tester@{STACK}", *argv, data=data)


@openssh
@stack_serves
async def test_openssh_runs_commands(net: Net, keys: Keys, tmp_path: Path) -> None:
    client = OpenSSH(keys)
    async with asyncssh_server(keys, STACK, tmp_path):
        several = await asyncio.gather(*(client.ssh("cat", data=DATA[i:]) for i in range(3)))
        assert [each.stdout for each in several] == [DATA[i:] for i in range(3)]
        assert {each.returncode for each in several} == {0}
        failed = await client.ssh("exit", "7")
        assert (failed.returncode, failed.stdout, failed.stderr) == (7, b"", b"leaving\n")


@openssh
@stack_serves
async def test_openssh_is_refused(net: Net, keys: Keys, tmp_path: Path) -> None:
    async with asyncssh_server(keys, STACK, tmp_path):
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(keys.directory / "user")
        refused = await OpenSSH(keys).ssh("cat")
        assert refused.returncode == 255
        assert b"Permission denied (publickey)" in refused.stderr


@openssh
@stack_serves
async def test_openssh_transfers_files(net: Net, keys: Keys, tmp_path: Path) -> None:
    root, here = tmp_path / "root", tmp_path / "here"
    root.mkdir()
    here.mkdir()
    (here / "data").write_bytes(DATA)
    (here / "batch").write_text(
        f"put {here}/data up\nget up {here}/down\nrename up moved\nmkdir d\nls -1\n"
    )
    client = OpenSSH(keys)
    async with asyncssh_server(keys, STACK, root):
        done = await client("sftp", "-P", str(PORT), "-b", here / "batch", f"tester@{STACK}")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-2:] == [b"d", b"moved"]
        assert (root / "moved").read_bytes() == (here / "down").read_bytes() == DATA


@openssh
@stack_serves
async def test_openssh_forwards_a_port(net: Net, keys: Keys, tmp_path: Path) -> None:
    """`ssh -W`: from the kernel to the stack's server, which connects to the kernel."""
    peers: list[str] = []
    client = OpenSSH(keys)
    async with net.kernel.serving(echo_server(peers)), asyncssh_server(keys, STACK, tmp_path):
        argv = ["-W", f"{HOST}:{ECHO}", "-p", str(PORT), f"tester@{STACK}"]
        done = await client("ssh", *argv, data=DATA)
        assert (done.returncode, done.stdout) == (0, DATA)
        assert peers == [STACK]
        argv[1] = f"{HOST}:{ECHO + 1}"
        done = await client("ssh", *argv)
        assert done.returncode == 255
        assert b"open failed" in done.stderr


# It asks from the stack


@asynccontextmanager
async def openssh_server(keys: Keys) -> AsyncIterator[str]:
    """OpenSSH's server, as a user of its own, who is also the only one who may log in."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None:
        pytest.skip("no sshd here")
    with commoner("postgres") as owner:
        if owner.prefix and os.access("/etc/shadow", os.R_OK):
            pytest.skip("sshd would see that this account is locked")
        for name in ("host", "authorized"):
            owner.keep(name, (keys.directory / name).read_bytes())
        argv = [*owner.prefix, sshd, "-D", "-e", "-f", "none", "-p", str(PORT)]
        for option in (
            f"ListenAddress={HOST}",
            f"HostKey={owner.directory}/host",
            f"AuthorizedKeysFile={owner.directory}/authorized",
            "PidFile=none",
            "StrictModes=no",
            "UsePAM=no",
            "GatewayPorts=clientspecified",
            "Subsystem=sftp internal-sftp",
        ):
            argv += ["-o", option]
        process = Process(argv, "Server listening on", **owner.popen)
        try:
            yield owner.name
        finally:
            process.end(signal.SIGTERM)


@asynccontextmanager
async def some_server(kind: str, net: Net, keys: Keys, root: Path) -> AsyncIterator[str]:
    """One of the two, on the kernel's side. Gives the name of the user."""
    if kind == "openssh":
        async with openssh_server(keys) as user:
            yield user
    else:
        async with net.kernel.serving(asyncssh_server(keys, HOST, root)):
            yield "tester"


def connect(keys: Keys, user: str, **more: Any) -> Any:
    return asyncssh.connect(
        HOST,
        PORT,
        username=user,
        client_keys=[keys.user],
        known_hosts=str(keys.directory / "known"),
        config=None,
        **more,
    )


both_servers = pytest.mark.parametrize("kind", ["openssh", "asyncssh"])


@both_servers
@stack_asks
async def test_client_runs_commands(net: Net, keys: Keys, tmp_path: Path, kind: str) -> None:
    async with some_server(kind, net, keys, tmp_path) as user, connect(keys, user) as ssh:
        assert ssh.get_extra_info("sockname")[0] == STACK
        several = [ssh.run("cat", input=DATA[i:], encoding=None) for i in range(3)]
        assert [each.stdout for each in await asyncio.gather(*several)] == [
            DATA[i:] for i in range(3)
        ]
        assert (await ssh.run("exit 7")).exit_status == 7


@both_servers
@stack_asks
async def test_client_transfers_files(net: Net, keys: Keys, tmp_path: Path, kind: str) -> None:
    (tmp_path / "data").write_bytes(DATA)
    async with some_server(kind, net, keys, tmp_path) as user, connect(keys, user) as ssh:
        place = "." if kind == "asyncssh" else (await ssh.run("mktemp -d")).stdout.strip()
        async with ssh.start_sftp_client() as sftp:
            await sftp.put(str(tmp_path / "data"), f"{place}/up")
            assert (await sftp.stat(f"{place}/up")).size == len(DATA)
            await sftp.get(f"{place}/up", str(tmp_path / "down"))
            await sftp.remove(f"{place}/up")
            if kind == "openssh":
                await sftp.rmdir(place)
        assert (tmp_path / "down").read_bytes() == DATA


async def echoed(reader: Any, writer: Any) -> bytes:
    """What the echo server makes of DATA."""
    writer.write(DATA)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return bytes(answer)


@both_servers
@stack_asks
async def test_client_forwards_ports(net: Net, keys: Keys, tmp_path: Path, kind: str) -> None:
    peers: list[str] = []
    async with (
        net.kernel.serving(echo_server(peers)),
        some_server(kind, net, keys, tmp_path) as user,
        connect(keys, user) as ssh,
    ):
        # By the server to the kernel.
        assert await echoed(*await ssh.open_connection(HOST, ECHO)) == DATA
        with pytest.raises(asyncssh.ChannelOpenError):
            await ssh.open_connection(HOST, ECHO + 1)
        # The same from a port of the kernel's loopback, which is not the stack's.
        async with ssh.forward_local_port("127.0.0.1", 0, HOST, ECHO) as here:
            streams = await asyncio.open_connection("127.0.0.1", here.get_port())
            assert await echoed(*streams) == DATA
        # From a port of the server back to us, and by us through the stack.
        async with ssh.forward_remote_port(HOST, 0, HOST, ECHO) as there:

            async def ask() -> bytes:
                return await echoed(*await asyncio.open_connection(HOST, there.get_port()))

            assert await net.kernel.run(ask()) == DATA
        assert peers == [HOST, HOST, STACK]


@stack_asks
async def test_client_through_tunnels(net: Net, keys: Keys, tmp_path: Path) -> None:
    """asyncssh's seam for transports of others; and one SSH through another."""
    async with (
        net.kernel.serving(asyncssh_server(keys, HOST, tmp_path)),
        connect(keys, "tester", tunnel=net.stack) as outer,
        connect(keys, "tester", tunnel=outer) as inner,
    ):
        assert (await inner.run("cat", input=DATA, encoding=None)).stdout == DATA


def test_client_on_a_plain_loop(
    netns: None, loop_factory: Callable[[], asyncio.AbstractEventLoop], keys: Keys, tmp_path: Path
) -> None:
    async def main() -> None:
        tun, _ = await network.off_loop(network.open_tun, host_addresses=[V4.host_address])
        with kernel_side() as kernel:
            async with (
                Stack(tun, addresses=[STACK]) as stack,
                kernel.serving(asyncssh_server(keys, HOST, tmp_path)),
                connect(keys, "tester", tunnel=stack) as ssh,
            ):
                assert ssh.get_extra_info("sockname")[0] == STACK
                assert (await ssh.run("cat", input=DATA, encoding=None)).stdout == DATA

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


@stack_asks
async def test_client_whose_connection_is_reset(net: Net, keys: Keys, tmp_path: Path) -> None:
    async with (
        net.kernel.serving(asyncssh_server(keys, HOST, tmp_path)) as connections,
        connect(keys, "tester") as ssh,
    ):
        process = await ssh.create_process("cat", encoding=None)
        process.stdin.write(b"hello")
        assert await process.stdout.readexactly(5) == b"hello"

        async def leave() -> None:
            connections[0].abort()

        await net.kernel.run(leave())
        with pytest.raises(asyncssh.ConnectionLost):
            await process.stdout.read()
        await ssh.wait_closed()
        with pytest.raises(asyncssh.ChannelOpenError):
            await ssh.run("cat")
    with pytest.raises(ConnectionRefusedError):
        await connect(keys, "tester")
