"""What was refused as busy is taken out of a recording, with the refusals."""

import pytest

from tests.simulation.refusals import without_refusals

BUSY = "ERR busy try again later"


@pytest.mark.parametrize(
    ("sent", "received", "heard", "left"),
    [
        (["MSG a", "PING 1"], ["PONG 1"], {"a"}, ["MSG a", "PING 1"]),
        (["MSG a", "MSG b", "PING 1"], [BUSY, "PONG 1"], {"b"}, ["MSG b", "PING 1"]),
        (["MSG a", "PING 1"], [BUSY, "PONG 1"], {"a"}, ["MSG a", "PING 1"]),
        (["JOIN x", "PING 1"], [BUSY, "PONG 1"], set(), ["PING 1"]),
        (
            ["MSG a", "PING 1", "MSG b", "PING 2"],
            ["PONG 1", BUSY, "PONG 2"],
            {"a"},
            ["MSG a", "PING 1", "PING 2"],
        ),
        (["MSG a", "PING 1", "MSG b"], ["PONG 1", BUSY], {"a"}, ["MSG a", "PING 1"]),
        (["MSG a", "MSG b", "QUIT"], [BUSY, "BYE quit"], set(), ["MSG b", "QUIT"]),
    ],
)
def test_as_many_lines_are_taken_out_as_were_refused(
    sent: list[str], received: list[str], heard: set[str], left: list[str]
) -> None:
    remaining, accepted = without_refusals(sent, received, heard)
    assert remaining == left
    assert accepted == [line for line in received if line != BUSY]
