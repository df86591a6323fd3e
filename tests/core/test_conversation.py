"""The password: what is answered before, between and after its checks."""

import pytest

from simple_chat.core.handshake import State
from simple_chat.core.session import TRIES_MAX
from tests.harness.sessions import RoomHarness, SessionClient


@pytest.fixture
def client(harness: RoomHarness) -> SessionClient:
    return harness.connect(auth_required=True)


def try_password(harness: RoomHarness, client: SessionClient, secret: str, *, accepted: bool) -> list[str]:
    """Send a password, have it checked, and return the first two words of each answer."""
    client.send(f"PASS {secret}")
    harness.rest()
    assert (client.session.state, client.session.secret) == (State.VERIFYING, secret)
    client.session.on_password_checked(accepted=accepted)
    harness.rest()
    return [" ".join(line.split(" ")[:2]) for line in client.read()]


def test_password_is_needed_before_anything_but_ping_help_and_quit(
    harness: RoomHarness, client: SessionClient
) -> None:
    client.send("JOIN ann", "WHO", "MSG hi", "PING x")
    harness.rest()
    assert [line.split(" ")[1] for line in client.read()] == [*["auth-required"] * 3, "x"]
    assert try_password(harness, client, "right", accepted=True) == ["OK PASS"]
    client.send("JOIN ann")
    harness.rest()
    assert client.read() == ["OK JOIN ann"]


def test_wrong_passwords_are_refused_until_the_last_one_disconnects(
    harness: RoomHarness, client: SessionClient
) -> None:
    for _ in range(TRIES_MAX - 1):
        assert try_password(harness, client, "wrong", accepted=False) == ["ERR auth-failed"]
    last = try_password(harness, client, "wrong", accepted=False)
    assert last == ["ERR auth-failed", "BYE auth-failed"]
    assert client.session.finished


def test_lines_behind_a_password_wait_for_its_check(harness: RoomHarness, client: SessionClient) -> None:
    client.send("PASS right", "JOIN ann")
    harness.rest()
    assert client.read() == []
    client.session.on_password_checked(accepted=True)
    harness.schedule(client)
    harness.rest()
    assert client.read() == ["OK PASS", "OK JOIN ann"]


def test_verdict_that_comes_after_the_close_changes_nothing(
    harness: RoomHarness, client: SessionClient
) -> None:
    client.send("PASS right")
    harness.rest()
    client.end("shutdown")
    assert client.session.secret is None
    client.session.on_password_checked(accepted=True)
    harness.rest()
    assert client.read() == ["BYE shutdown"]


def test_password_is_forgotten_once_it_was_checked(harness: RoomHarness, client: SessionClient) -> None:
    try_password(harness, client, "sesame", accepted=False)
    assert "sesame" not in repr(client.session._handshake)
