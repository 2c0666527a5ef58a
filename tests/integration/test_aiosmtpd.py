"""aiosmtpd's server and aiosmtplib's client, either on the stack and either on the kernel's side;
and the standard library's smtplib on the kernel's side."""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from typing import Any, NamedTuple

import aiosmtplib
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from aiotcp import AsyncioEventLoop, EventLoop, Stack
from aiotcp.link import network
from tests.integration.world import GUARD_S, HOST, STACK, Net, client_tls, server_tls, stack_serves
from tests.support.hosts import V4

PORT = 25
USER, PASSWORD = "tester", "open sesame"
LETTERS = 20
BIG = 2_000_000
FROM, TO = "a@example.org", ["b@example.org", "c@example.org"]

modes = pytest.mark.parametrize("mode", ["plain", "starttls", "tls"])


class Kept(NamedTuple):
    """A letter that arrived, and how."""

    peer: str
    tls: bool
    user: str | None
    sender: str
    recipients: list[str]
    digest: str


class Handler:
    def __init__(self) -> None:
        self.kept: list[Kept] = []

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if not address.endswith("@example.org"):
            return "550 not ours"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        # Over TLS from the start there is no `session.ssl`: that is of STARTTLS.
        tls = server.transport.get_extra_info("ssl_object") is not None
        digest = hashlib.sha256(envelope.content).hexdigest()
        kept = Kept(session.peer[0], tls, session.auth_data, envelope.mail_from,
                    envelope.rcpt_tos, digest)  # fmt: skip
        self.kept.append(kept)
        return "250 kept"


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
    good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False, auth_data=USER)


@asynccontextmanager
async def mail_server(host: str, mode: str) -> AsyncIterator[Handler]:
    handler = Handler()

    def factory() -> Any:
        return SMTP(
            handler,
            hostname="mx.example.org",
            tls_context=server_tls() if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            authenticator=authenticate,
            auth_require_tls=False,
        )

    loop = asyncio.get_running_loop()
    tls = server_tls() if mode == "tls" else None
    server = await loop.create_server(factory, host, PORT, ssl=tls)
    try:
        yield handler
    finally:
        server.close()
        await server.wait_closed()


def mail_client(host: str, mode: str, context: ssl.SSLContext) -> Any:
    return aiosmtplib.SMTP(
        hostname=host,
        port=PORT,
        timeout=GUARD_S,
        use_tls=mode == "tls",
        start_tls=mode == "starttls",
        tls_context=context if mode != "plain" else None,
    )


def letter(number: int) -> bytes:
    message = EmailMessage()
    message["Subject"] = f"Letter {number}"
    message.set_content(f"Grüße Nr. {number}\n.\n..\n", cte="quoted-printable")
    return message.as_bytes().replace(b"\n", b"\r\n")


def big() -> bytes:
    lines = hashlib.shake_256(b"mail").hexdigest(BIG // 2)
    return b"".join(lines[i : i + 70].encode() + b"\r\n" for i in range(0, len(lines), 70))


def expected(peer: str, mode: str) -> list[Kept]:
    contents = [letter(i) for i in range(LETTERS)] + [big()]
    user = USER if mode != "plain" else None
    return [
        Kept(peer, mode != "plain", user, FROM, TO, hashlib.sha256(content).hexdigest())
        for content in contents
    ]


def send_by_smtplib(mode: str) -> None:
    if mode == "tls":
        client: smtplib.SMTP = smtplib.SMTP_SSL(STACK, PORT, timeout=GUARD_S, context=client_tls())
    else:
        client = smtplib.SMTP(STACK, PORT, timeout=GUARD_S)
    with client:
        if mode == "starttls":
            with pytest.raises(smtplib.SMTPSenderRefused, match="STARTTLS"):
                client.sendmail(FROM, TO, letter(0))
            client.starttls(context=client_tls())
        if mode != "plain":
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login(USER, "wrong")
            client.login(USER, PASSWORD)
        for i in range(LETTERS):
            assert client.sendmail(FROM, TO, letter(i)) == {}
        assert client.sendmail(FROM, TO, big()) == {}
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(FROM, ["a@example.com"], letter(0))
        assert client.noop()[0] == 250


@modes
@stack_serves
async def test_smtplib_asks(net: Net, mode: str) -> None:
    async with mail_server(STACK, mode) as handler:
        await asyncio.to_thread(send_by_smtplib, mode)
    assert handler.kept == expected(net.client_host, mode)


@modes
async def test_aiosmtplib_asks(net: Net, mode: str) -> None:
    async def send() -> None:
        async with mail_client(net.host, mode, client_tls()) as client:
            if mode != "plain":
                await client.login(USER, PASSWORD)
            for content in [*(letter(i) for i in range(LETTERS)), big()]:
                errors, answer = await client.sendmail(FROM, TO, content)
                assert (errors, answer) == ({}, "kept")

    async with net.serving(mail_server(net.host, mode)) as handler:
        await net.asking(send())
    assert handler.kept == expected(net.client_host, mode)


@pytest.mark.parametrize("mode", ["starttls", "tls"])
async def test_untrusted_certificate(net: Net, mode: str) -> None:
    async def send() -> None:
        with pytest.raises((ssl.SSLCertVerificationError, aiosmtplib.SMTPException)):
            await mail_client(net.host, mode, ssl.create_default_context()).connect()

    async with net.serving(mail_server(net.host, mode)) as handler:
        await net.asking(send())
    assert not handler.kept


@modes
@pytest.mark.parametrize("new_loop", [AsyncioEventLoop, EventLoop])
def test_controller(netns: None, new_loop: type[AsyncioEventLoop | EventLoop], mode: str) -> None:
    """aiosmtpd's own way to run: a thread, with the loop that it is given."""
    tun, _ = network.open_tun(host_addresses=[V4.host_address])
    loop = new_loop(Stack(tun, addresses=[STACK]))
    reports: list[Any] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    handler = Handler()
    controller = Controller(
        handler,
        STACK,
        PORT,
        loop,
        ready_timeout=GUARD_S,
        ssl_context=server_tls() if mode == "tls" else None,
        tls_context=server_tls() if mode == "starttls" else None,
        require_starttls=mode == "starttls",
        authenticator=authenticate,
        auth_require_tls=False,
    )
    controller.start()
    try:
        send_by_smtplib(mode)
    finally:
        controller.stop()
    assert handler.kept == expected(HOST, mode)
    assert loop.is_closed()
    assert not reports
