"""A service's certificate: read while it still may be, and checked before anything is set up."""

from __future__ import annotations

import ipaddress
import os
import shlex
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiotcp.serve.privileges import Account
from aiotcp.serve.problems import BadOptions, NoPermission
from aiotcp.serve.service import curl, joined

_MISMATCHES = {
    *("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"),
    "NO_CERTIFICATE_ASSIGNED",  # what comes of a key of another kind
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server needs to speak TLS, and whom the certificate names.

    path: as given on the command line. hosts: names, and addresses in their shortest form. Without
    any, the certificate does not verify even for who trusts it: it has expired, for example.
    """

    path: str
    context: ssl.SSLContext
    hosts: tuple[str, ...]

    def curl(self, host: str, port: int) -> str:
        """The command that fetches from there and verifies, if that is possible at all."""
        trusting = f"curl --cacert {shlex.quote(self.path)} "
        if not self.hosts:
            return "curl --insecure " + curl("https", host, port).removeprefix("curl ")
        if str(ipaddress.ip_address(host)) in self.hosts:
            return trusting + curl("https", host, port).removeprefix("curl ")
        name = self.hosts[0].replace("*", "www")
        at = f"[{host}]" if ":" in host else host
        resolve = shlex.quote(f"{name}:{port}:{at}")
        return f"{trusting}--resolve {resolve} " + curl("https", name, port).removeprefix("curl ")

    def s_client(self, host: str, port: int) -> str:
        """The command that talks to a server there which does not speak HTTP."""
        return f"openssl s_client -quiet -connect {shlex.quote(joined(host, port))}"


def load(certfile: str, keyfile: str | None) -> Certificate:
    """The certificate chain in `certfile`, with its key there or in `keyfile`; all in PEM.

    Raises Problem for what is not there, does not belong together, or needs a passphrase.
    """
    _check(f"--certfile {certfile}", certfile, "CERTIFICATE-----", "certificate")
    key = f"--keyfile {keyfile}" if keyfile is not None else f"--certfile {certfile}"
    hint = "" if keyfile is not None else "; give --keyfile"
    _check(key, keyfile or certfile, "PRIVATE KEY-----", "private key", hint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def refuse() -> str:
        raise BadOptions(
            f"{key}: the key needs a passphrase; 'openssl pkey -in FILE -out OTHER' writes it "
            "without one"
        )

    try:
        context.load_cert_chain(certfile, keyfile, refuse)
    except ssl.SSLError as exc:
        if exc.reason in _MISMATCHES:
            raise BadOptions(
                f"{key}: the key does not belong to the certificate in {certfile}"
            ) from None
        raise BadOptions(f"--certfile {certfile}: {exc.reason or exc}") from None
    return Certificate(certfile, context, _hosts(certfile, context))


def _check(option: str, path: str, mark: str, what: str, hint: str = "") -> None:
    """OpenSSL's errors do not say which of the files it was."""
    try:
        with open(path, encoding="latin-1") as file:
            text = file.read()
    except PermissionError as exc:
        raise NoPermission(f"{option}: {exc.strerror}") from None
    except OSError as exc:
        raise BadOptions(f"{option}: {exc.strerror}") from None
    if mark not in text:
        raise BadOptions(f"{option}: there is no {what} in it (in PEM form){hint}")


def _hosts(certfile: str, server: ssl.SSLContext) -> tuple[str, ...]:
    """What a client that trusts the certificate learns from it: we play one."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the last of the file need be no root
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    try:
        client.load_verify_locations(certfile)
        for _ in range(3):
            for end in (theirs, ours):
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLError:
        return ()
    certificate: Any = theirs.getpeercert()
    named = certificate.get("subjectAltName", ()) if certificate else ()
    names = [name for kind, name in named if kind == "DNS"]
    addresses = [str(ipaddress.ip_address(name)) for kind, name in named if kind == "IP Address"]
    return tuple(names + addresses)


def log_keys(certificate: Certificate, user: Account | None) -> str | None:
    """Let the server write its connections' secrets where SSLKEYLOGFILE says, if it says so.

    The file is opened while it still may be; one that is new belongs to the user that the program
    becomes, and nobody else may read it. Returns its path. Raises Problem if it can't be written.
    """
    path = os.environ.get("SSLKEYLOGFILE")
    if not path:
        return None
    try:
        with suppress(FileExistsError):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                if user is not None and os.geteuid() == 0:
                    os.fchown(fd, user.uid, user.gid)
            finally:
                os.close(fd)
        certificate.context.keylog_filename = path
    except OSError as exc:
        raise BadOptions(f"SSLKEYLOGFILE {path}: {exc.strerror}") from None
    return path
