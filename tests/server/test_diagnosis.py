"""Why can nobody join? For each cause OPERATING.md says what is logged, and it is; the figures count it.

For a failing journal or NATS, a certificate that has ended, a drain and a lack of descriptors see
`tests.journal.test_disk_faults`, `tests.cluster.test_metrics`, `tests.server.test_certificate_watch`,
`tests.server.test_health` and `tests.server.test_acceptor`.
"""

import re
from pathlib import Path

import argon2
import pytest

import simple_chat
from simple_chat import Settings
from simple_chat.server import acceptor, hub
from simple_chat.server.status import figures
from tests.harness.server import ServerHarness, run_server_in_loop

PAGE = (Path(simple_chat.__file__).parent / "server" / "OPERATING.md").read_text()
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("s3cret")


@pytest.fixture(autouse=True)
def _quick_and_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level("INFO", "simple_chat")
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 0.02)


def told(cause: str, number: str = "", here: str = "") -> str:
    """Return what the page says that the log has for a cause, with a number of this test in it."""
    found = re.search(rf"^\| {cause} \| .*?log: `([^`]+)`", PAGE, re.MULTILINE)
    assert found is not None
    return found[1].replace(number, here) if number else found[1]


def status(harness: ServerHarness) -> dict[str, str]:
    return {key: str(value) for key, value in figures(harness.server)}


async def test_full_server_is_told_from_one_that_is_full_for_an_address(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "network_of", lambda host: host)
    async with run_server_in_loop(Settings(max_clients=2, max_per_ip=1)) as harness:
        near = await harness.connect_from("127.0.0.2")
        await (await harness.connect_from("127.0.0.2")).rest()
        assert told("too many from one address", "32", "1") in caplog.text
        await harness.connect_from("127.0.0.3")
        await (await harness.connect_from("127.0.0.4")).rest()
        assert told("full", "960", "2") in caplog.text
        shown = status(harness)
        assert (shown["connections"], shown["max_clients"]) == ("2", "2")
        assert shown["refused_by_limit"] == "max-per-ip=1 max-clients=1"
        await near.close()


async def test_ban_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with run_server_in_loop() as harness:
        await harness.server.moderation.ban("ann", None, "spam")
        ann = await harness.connect()
        ann.send("JOIN ann")
        assert (await ann.rest())[0] == "ERR banned spam"
        assert told("banned") in caplog.text
        assert status(harness)["refused_by_code"] == "banned=1"


async def test_wrong_password_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with run_server_in_loop(password=HASH) as harness:
        ann, ben = await harness.connect(), await harness.connect()
        ann.send("PASS a", "PASS b", "PASS c")
        await ann.rest()
        assert told("wrong password") in caplog.text
        await ben.ask("JOIN ben")
        assert status(harness)["refused_by_code"] == "auth-failed=3 auth-required=1"


async def test_who_does_not_join_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with run_server_in_loop(Settings(join_timeout=0.1)) as harness:
        await (await harness.connect()).rest()
        assert told("nobody sends `JOIN`", "30", "0.1") in caplog.text
        assert status(harness)["refused_by_code"] == "join-timeout=1"


def test_page_has_ten_causes() -> None:
    _, _, section = PAGE.partition("## Why can nobody join?")
    assert len(re.findall(r"^\| ", section, re.MULTILINE)) == 1 + 10
