"""Serving over TLS: what is wrong with a certificate is said, and what is right is served."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from aiotcp.serve.certificate import load
from tests.serve.test_command_line import invoke

PEM = Path(__file__).parents[1] / "support" / "tls" / "self-signed.pem"
BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n", re.DOTALL)

pytestmark = [
    pytest.mark.usefixtures("logging_as_before"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


def openssl(command: str, cwd: Path) -> None:
    subprocess.run(["openssl", *shlex.split(command)], check=True, capture_output=True, cwd=cwd)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with cert.pem, key.pem, other.pem (a key), encrypted.pem and so on."""
    monkeypatch.chdir(tmp_path)
    blocks = {found[1]: found[0] for found in BLOCK.finditer(PEM.read_text())}
    (tmp_path / "cert.pem").write_text(blocks["CERTIFICATE"])
    (tmp_path / "key.pem").write_text(blocks["PRIVATE KEY"])
    (tmp_path / "both.pem").write_text("".join(blocks.values()))
    (tmp_path / "garbled.pem").write_text(blocks["CERTIFICATE"].replace("M", "", 1))
    openssl("genpkey -algorithm ED25519 -out other.pem", tmp_path)
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out another.pem", tmp_path)
    openssl("pkcs8 -topk8 -in key.pem -out encrypted.pem -passout pass:secret", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--keyfile key.pem", "--keyfile needs --certfile"),
        ("--certfile no.pem", "--certfile no.pem: No such file or directory"),
        ("--certfile .", "--certfile .: Is a directory"),
        ("--certfile cert.pem", "--certfile cert.pem: there is no private key in it"),
        ("--certfile cert.pem", "give --keyfile"),
        ("--certfile key.pem", "--certfile key.pem: there is no certificate in it"),
        ("--certfile cert.pem --keyfile no.pem", "--keyfile no.pem: No such file"),
        ("--certfile cert.pem --keyfile cert.pem", "cert.pem: there is no private key in it"),
        (
            "--certfile cert.pem --keyfile other.pem",
            "--keyfile other.pem: the key does not belong to the certificate in cert.pem",
        ),
        (
            "--certfile cert.pem --keyfile another.pem",
            "--keyfile another.pem: the key does not belong to the certificate in cert.pem",
        ),
        ("--certfile cert.pem --keyfile encrypted.pem", "encrypted.pem: the key needs a pass"),
        ("--certfile garbled.pem --keyfile key.pem", "--certfile garbled.pem: "),
    ],
)
@pytest.mark.parametrize("command", ["http", "echo", "asgi x:y"])
def test_what_is_wrong_is_said_before_anything_is_set_up(
    files: Path, command: str, arguments: str, message: str
) -> None:
    result = invoke(*command.split(), *arguments.split())
    assert result.exit_code == 2
    assert message in result.output


def test_names_and_addresses_that_the_certificate_has(files: Path) -> None:
    for certificate in (load("both.pem", None), load("cert.pem", "key.pem")):
        assert certificate.hosts[:3] == ("stack.test", "localhost", "127.0.0.1")
        assert "192.0.2.2" in certificate.hosts


@pytest.mark.parametrize(
    ("extensions", "host", "port", "command"),
    [
        (
            "IP:192.0.2.2,IP:fd61::2",
            *("192.0.2.2", 443, "curl --cacert 'a cert.pem' https://192.0.2.2/"),
        ),
        (
            "IP:192.0.2.2,IP:fd61::2",
            *("fd61::2", 8443, "curl --cacert 'a cert.pem' 'https://[fd61::2]:8443/'"),
        ),
        (
            "DNS:stack.test",
            *("192.0.2.2", 443),
            "curl --cacert 'a cert.pem' --resolve stack.test:443:192.0.2.2 https://stack.test/",
        ),
        (
            "DNS:*.stack.test",
            *("fd61::2", 1443),
            "curl --cacert 'a cert.pem' --resolve 'www.stack.test:1443:[fd61::2]' "
            "https://www.stack.test:1443/",
        ),
        ("", "192.0.2.2", 443, "curl --insecure https://192.0.2.2/"),
    ],
)
def test_the_command_that_verifies(
    files: Path, extensions: str, host: str, port: int, command: str
) -> None:
    san = f"-addext subjectAltName={extensions}" if extensions else ""
    openssl(
        f"req -x509 -key key.pem -subj /CN=x {san} -days 30 -out 'a cert.pem'",
        files,
    )
    assert load("a cert.pem", "key.pem").curl(host, port) == command


def test_a_chain_is_sent_and_trusted_by_its_last_certificate(files: Path) -> None:
    openssl("req -x509 -key key.pem -subj /CN=root -days 30 -out root.pem", files)
    openssl("req -new -key key.pem -subj /CN=middle -out middle.csr", files)
    (files / "ca").write_text("basicConstraints=critical,CA:TRUE\n")
    sign = "x509 -req -CAkey key.pem -CAcreateserial -days 30"
    openssl(f"{sign} -in middle.csr -CA root.pem -extfile ca -out middle.pem", files)
    openssl("req -new -key key.pem -subj /CN=leaf -out leaf.csr", files)
    (files / "leaf").write_text("subjectAltName=DNS:leaf.test\n")
    openssl(f"{sign} -in leaf.csr -CA middle.pem -extfile leaf -out leaf.pem", files)
    chain = (files / "leaf.pem").read_text() + (files / "middle.pem").read_text()
    (files / "chain.pem").write_text(chain)
    certificate = load("chain.pem", "key.pem")
    assert certificate.hosts == ("leaf.test",)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations("root.pem")
    client = client_context.wrap_bio(to_client, to_server, server_hostname="leaf.test")
    server = certificate.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    assert client.version() == "TLSv1.3"


def test_an_expired_certificate_is_served_and_needs_insecure(files: Path) -> None:
    openssl("req -new -key key.pem -subj /CN=old -out old.csr", files)
    (files / "san").write_text("subjectAltName=DNS:old.test\n")
    openssl("x509 -req -in old.csr -signkey key.pem -days -1 -extfile san -out old.pem", files)
    command = load("old.pem", "key.pem").curl("192.0.2.2", 443)
    assert command == "curl --insecure https://192.0.2.2/"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_key_that_may_not_be_read(files: Path) -> None:
    (files / "key.pem").chmod(0)
    result = invoke("http", "--certfile", "cert.pem", "--keyfile", "key.pem")
    assert result.exit_code == 4
    assert "--keyfile key.pem: Permission denied" in result.output
