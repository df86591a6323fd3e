"""What a message and a delivery cost, counted in bytecodes of the core: a machine's noise can't touch that.

Timings are the business of benchmarks. These bounds are a tenth above what it took when they were set.
Whoever makes the hot path costlier has to raise them, and to say why.
"""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import simple_chat
from simple_chat.core.limits import Limits
from tests.harness.sessions import RoomHarness

MESSAGE = 860
"""Bytecodes for a line in a packet of its own, from the bytes received to its place in the batch, and for
what its author gets of that batch. A tenth of it is counting the lines that a client may send."""

DELIVERY = 18
"""Bytecodes for a batch to a member who has everything so far, however many lines it has."""

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] == (3, 12), reason="this Python does not tell of every bytecode"
)

_CORE = str(Path(simple_chat.__file__).parent)
_LINE = "MSG " + "x" * 64


class Meter:
    """Counts the bytecodes that are run in the core, within a ``with`` block."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Meter":
        self._outer = sys.gettrace()  # a measurement of coverage, perhaps
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._outer)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401 - as sys has it
        if not frame.f_code.co_filename.startswith(_CORE):
            return None
        frame.f_trace_opcodes = True
        self.count += event == "opcode"
        return self._trace


def cost(members: int, speakers: int) -> int:
    """Bytecodes of a turn in which some members say a line each."""
    harness = RoomHarness(presence_limit=0)
    clients = harness.enter(*(f"user{number}" for number in range(members)), limits=Limits())
    with Meter() as meter:
        for client in clients[:speakers]:
            client.send(_LINE)
        harness.turn()
    assert all(len(client.read()) == speakers - (client in clients[:speakers]) for client in clients)
    return meter.count


def test_a_delivery_costs_no_more_than_it_did() -> None:
    assert cost(101, 1) - cost(100, 1) <= DELIVERY


def test_a_delivery_costs_the_same_however_many_lines_it_has() -> None:
    assert cost(101, 50) - cost(100, 50) == cost(101, 1) - cost(100, 1)


def test_a_message_costs_no_more_than_it_did() -> None:
    assert cost(100, 51) - cost(100, 50) <= MESSAGE
