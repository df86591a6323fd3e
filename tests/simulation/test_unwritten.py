"""Only who left while the journal was not written, and is still there by it, is checked up to then alone."""

import pytest

from tests.harness.checker import check
from tests.harness.transcript import End, Recording, Violation
from tests.simulation.unwritten import as_far_as_written

HELLO = "HELLO x/1"
ANN = ["OK JOIN ann", "MSG bob 1"]


def recording(*received: str, end: End = End.CLEAN, sent: tuple[str, ...] = ()) -> Recording:
    whole = "".join(f"{line}\n" for line in (HELLO, *received))
    return Recording(label="x", sent=[*sent], received=whole.encode(), end=end)


@pytest.mark.parametrize(
    ("received", "kept"),
    [
        ((*ANN, "GAP 2", "OK LEAVE", "BYE quit"), ANN),
        ((*ANN, "OK LEAVE"), ANN),
        ((*ANN, "GAP 2", "BYE quit"), ANN),
        ((*ANN, "GAP 1", "ERR kicked text", "BYE kicked"), ANN),
        ((*ANN, "OK LEAVE", *ANN, "GAP 1", "BYE quit"), [*ANN, "OK LEAVE", *ANN]),
        (("OK JOIN ann", "GAP 5", "MSG bob 9", "OK LEAVE"), ["OK JOIN ann", "GAP 5", "MSG bob 9"]),
    ],
)
def test_what_came_of_an_end_that_is_not_written_does_not_count(
    received: tuple[str, ...], kept: list[str]
) -> None:
    assert as_far_as_written(recording(*received), {"ann"}) == recording(*kept, end=End.VANISHED)


@pytest.mark.parametrize(
    "received",
    [
        (*ANN, "GAP 2", "BYE shutdown"),
        ("ERR name-taken text", "BYE quit"),
        ("OK JOIN bob", "GAP 2", "OK LEAVE", "BYE quit"),
        (*ANN, "OK LEAVE", "OK JOIN bob", "GAP 1", "BYE quit"),
    ],
)
def test_everything_else_counts(received: tuple[str, ...]) -> None:
    whole = recording(*received)
    assert as_far_as_written(whole, {"ann"}) is whole


def test_gap_of_somebody_whose_name_was_left_before_may_count_lines_that_were_lost() -> None:
    left = ("JOINED x", "JOINED ann", "LEFT ann", "JOINED ann", "LEFT x", "LEFT ann")
    journal = recording("OK JOIN journal", *left, "BYE shutdown", sent=("JOIN journal",))
    others = [
        recording("OK JOIN x", end=End.VANISHED, sent=("JOIN x",)),
        recording("OK JOIN ann", "OK LEAVE", "BYE quit", sent=("JOIN ann", "LEAVE", "QUIT")),
        recording("OK JOIN ann", "GAP 2", "OK LEAVE", "BYE quit", sent=("JOIN ann", "LEAVE", "QUIT")),
    ]
    check(journal, [as_far_as_written(each, {"x", "ann"}) for each in others])
    with pytest.raises(Violation, match="'OK LEAVE' came where"):
        check(journal, others)
