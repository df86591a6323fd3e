"""The server's command line with TLS: what the options do, and what it says when a file can't be used."""

import re
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import trustme

from tests.harness.peer import BlockingPeer
from tests.harness.programs import (
    DEADLINE,
    ServerProcess,
    Terminal,
    find_program,
    run_server_process,
    run_server_to_exit,
)
from tests.harness.tls_servers import encrypt_key

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
"""An authority that the server is not told of."""


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Path:
    """A folder of files that may be meant."""
    issue(tmp_path)
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    AUTHORITY.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "other.pem")
    (tmp_path / "encrypted.pem").write_bytes(encrypt_key((tmp_path / "key.pem").read_bytes()))
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("hello\n")
    return tmp_path


def issue(folder: Path) -> None:
    """Give the server a new certificate."""
    leaf = AUTHORITY.issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")


def options(folder: Path, text: str) -> list[str]:
    """Options in which files are named without their folder."""
    return [word if word.startswith("-") else str(folder / word) for word in text.split()]


@pytest.fixture
def server(files: Path) -> Iterator[ServerProcess]:
    """A server that talks TLS."""
    with run_server_process("-v", *options(files, "--tls-cert both.pem")) as server:
        yield server


@contextmanager
def talk(server: ServerProcess, shows: trustme.CA | None = None) -> Iterator[BlockingPeer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    if shows is not None:
        shows.issue_cert("ann@example.org").configure_cert(context)
    with (
        socket.create_connection((server.host, int(server.port)), DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        peer = BlockingPeer(sock)
        assert peer.line().startswith("HELLO simple_chat/1 ")
        yield peer


def openssl(server: ServerProcess, folder: Path, *more: str) -> Terminal:
    """Somebody connects with the program that is the nc of TLS."""
    arguments = ["-quiet", "-verify_return_error", "-verify_hostname", "localhost", *more]
    where = ["-CAfile", str(folder / "ca.pem"), "-connect", f"{server.host}:{server.port}"]
    return Terminal(find_program("openssl"), "s_client", *arguments, *where)


# Who may talk


@pytest.mark.parametrize("own", ["--tls-cert both.pem", "--tls-cert cert.pem --tls-key key.pem"])
def test_key_may_be_in_the_certificates_file(files: Path, own: str) -> None:
    with run_server_process(*options(files, own)) as server, talk(server) as ann:
        assert ann.ask("JOIN ann") == ["OK JOIN ann"]


def test_openssl_holds_a_conversation(server: ServerProcess, files: Path) -> None:
    with openssl(server, files) as alice, talk(server) as bob:
        alice.child.expect("HELLO simple_chat/1 .*\r\n")
        alice.type("JOIN alice")
        assert alice.barrier() == ["OK JOIN alice"]
        assert bob.ask("JOIN bob", "MSG hi alice") == ["OK JOIN bob"]
        alice.type("MSG hi bob")
        assert alice.barrier() == ["JOINED bob", "MSG bob hi alice"]
        alice.type("QUIT")
        assert alice.wait_for("BYE quit") == []
        assert bob.ask() == ["MSG alice hi bob", "LEFT alice"]


def test_unix_socket_beside_it_is_plain(files: Path) -> None:
    path = str(files / "chat")
    with run_server_process("--unix", path, *options(files, "--tls-cert both.pem")) as server:
        server.log.expect_exact(f"listening on unix:{path}\n")
        alice = server.join("alice", "-U", path)
        with talk(server) as bob:
            assert bob.ask("JOIN bob", "MSG hi") == ["OK JOIN bob"]
            assert alice.barrier() == ["JOINED bob", "MSG bob hi"]


def test_client_certificates_can_be_required(files: Path) -> None:
    with run_server_process(*options(files, "--tls-cert both.pem --tls-client-ca ca.pem")) as server:
        for shows in (None, STRANGER):
            with pytest.raises((OSError, AssertionError)), talk(server, shows):
                pytest.fail("it was let in")
        with talk(server, AUTHORITY) as ann:
            assert ann.ask("JOIN ann", "WHO") == ["OK JOIN ann", "NAMES ann", "OK WHO 1"]


@pytest.mark.parametrize("data", [b"JOIN bot\nMSG hi\n", b"GET / HTTP/1.1\r\n\r\n", bytes(99), b""])
def test_plain_text_on_a_tls_port_is_closed_and_logged(server: ServerProcess, data: bytes) -> None:
    with talk(server) as ann:
        ann.ask("JOIN ann")
        with socket.create_connection((server.host, int(server.port)), DEADLINE) as plain:
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while received := plain.recv(65536):
                    assert b"HELLO" not in received
        server.log.expect(r"handshake with 127\.0\.0\.1:\d+ failed: ")
        assert ann.ask("MSG hi") == []
    assert "ERROR" not in server.stop()


# A new certificate


def serial_number(peer: BlockingPeer) -> object:
    assert isinstance(peer.sock, ssl.SSLSocket)
    certificate = peer.sock.getpeercert()
    assert certificate is not None
    return certificate["serialNumber"]


def test_sighup_reloads_the_certificate_and_drops_nobody(server: ServerProcess, files: Path) -> None:
    with talk(server) as ann:
        ann.ask("JOIN ann")
        issue(files)
        with talk(server) as bob:
            assert serial_number(bob) == serial_number(ann)
        server.process.send_signal(signal.SIGHUP)
        server.log.expect_exact(f" INFO reload: tls-cert: read again ({files / 'both.pem'})\n")
        with talk(server) as cleo:
            assert serial_number(cleo) != serial_number(ann)
            assert cleo.ask("JOIN cleo", "MSG hi") == ["OK JOIN cleo"]
            assert ann.ask("MSG hi cleo") == ["JOINED cleo", "MSG cleo hi"]
            assert cleo.ask() == ["MSG ann hi cleo"]


@pytest.mark.parametrize("broken", ["missing", "empty", "text", "encrypted.pem", "cert.pem"])
def test_certificate_that_cannot_be_read_again_leaves_the_old_one(
    server: ServerProcess, files: Path, broken: str
) -> None:
    with talk(server) as ann:
        ann.ask("JOIN ann")
        (files / "both.pem").unlink()
        with suppress(FileNotFoundError):
            (files / "both.pem").write_bytes((files / broken).read_bytes())
        server.process.send_signal(signal.SIGHUP)
        server.log.expect(r"ERROR nothing reloaded: can't use [^\n]*/both\.pem: [^\n]+\n")
        with talk(server) as bob:
            assert serial_number(bob) == serial_number(ann)
            assert bob.ask("JOIN bob", "MSG hi") == ["OK JOIN bob"]
            assert ann.ask() == ["JOINED bob", "MSG bob hi"]
    log = server.stop()
    assert len(re.findall("ERROR|can't use", log)) == 2  # in one line


# What keeps it from starting


def assert_refused(ended: CompletedProcess[str], status: int, reason: str) -> None:
    assert (ended.returncode, ended.stdout) == (status, "")
    assert re.fullmatch(f".*{reason}.*\n", ended.stderr)  # a dot is no line end: exactly one line


@pytest.mark.parametrize(
    ("own", "blamed", "why"),
    [
        ("--tls-cert missing", "missing", "No such file or directory"),
        ("--tls-cert cert.pem --tls-key missing", "missing", "No such file or directory"),
        ("--tls-cert empty", "empty", "there is no certificate in it"),
        ("--tls-cert text --tls-key key.pem", "text", "there is no certificate in it"),
        ("--tls-cert cert.pem", "cert.pem", "there is no private key in it"),
        ("--tls-cert cert.pem --tls-key text", "text", "there is no private key in it"),
        (
            "--tls-cert cert.pem --tls-key other.pem",
            "other.pem",
            "the key in it does not match the certificate",
        ),
        ("--tls-cert cert.pem --tls-key encrypted.pem", "encrypted.pem", "the key in it is encrypted"),
        ("--tls-cert both.pem --tls-client-ca missing", "missing", "No such file or directory"),
        ("--tls-cert both.pem --tls-client-ca key.pem", "key.pem", "there is no certificate in it"),
    ],
)
def test_unusable_tls_file_is_reported_in_one_line(files: Path, own: str, blamed: str, why: str) -> None:
    ended = run_server_to_exit("--port", "0", *options(files, own))
    assert_refused(ended, 1, f"^simple_chat: can't use {re.escape(str(files / blamed))}: {why}")
