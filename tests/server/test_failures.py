"""What goes wrong in one connection's handling is that connection's end, and nobody else's."""

import pytest

from simple_chat.core.session import Session
from tests.harness.server import run_server_in_loop


class Planted(RuntimeError):  # noqa: N818 - it is no error of ours
    """Not anything that the server could expect."""


def plant(monkeypatch: pytest.MonkeyPatch, step: str, name: str) -> None:
    """Make a step of one member's session fail."""
    real = getattr(Session, step)

    def fail_or_go_on(session: Session, *arguments: object) -> object:
        if session.subscriber.member and session.subscriber.member.name == name:
            raise Planted
        return real(session, *arguments)

    monkeypatch.setattr(Session, step, fail_or_go_on)


@pytest.mark.parametrize(("step", "said"), [("process_input", []), ("flush", ["MSG eve hello?"])])
async def test_a_failure_cuts_one_connection_and_is_logged(
    step: str, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_server_in_loop() as harness:
        ann, bob, eve = await harness.join_all("ann", "bob", "eve")
        plant(monkeypatch, step, "eve")
        eve.send("MSG hello?")
        assert await eve.rest() == []
        for other in (ann, bob):
            assert await other.until("LEFT eve") == said
        assert await ann.ask("MSG we go on") == []
        assert await bob.barrier() == ["MSG ann we go on"]
        assert await (await harness.connect()).ask("JOIN Eve") == ["OK JOIN Eve"]
    (record,) = caplog.get_records("call")
    assert record.exc_info is not None
    assert record.exc_info[0] is Planted
    assert "hello?" not in record.getMessage()
    caplog.clear()
