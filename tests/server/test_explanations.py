import pytest

from simple_chat import Settings
from simple_chat.core.codes import Code
from simple_chat.server.admission import Slot
from simple_chat.server.explanations import explain


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (Code.TOO_MANY_CONNECTIONS, "full: 1 of 1 connections (--max-clients)"),
        (Code.BANNED, "full: 1 of 1 connections (--max-clients)"),
        (Code.JOIN_TIMEOUT, "no JOIN within 2.5 s (--join-timeout)"),
        (Code.TOO_MANY_ERRORS, "more than 10 refused lines before its first JOIN"),
        (Code.AUTH_FAILED, "3 wrong passwords"),
        (Code.NOT_CHAT, "it speaks HTTP or TLS"),
        (Code.KICKED, ""),
    ],
)
def test_limit_and_its_value_are_named(code: Code, text: str) -> None:
    slot = Slot(None, "full: 1 of 1 connections (--max-clients)", 1)
    assert explain(code, Settings(join_timeout=2.5), slot) == text


def test_connection_without_a_slot_has_no_explanation() -> None:
    assert explain(Code.BANNED, Settings(), None) == ""
