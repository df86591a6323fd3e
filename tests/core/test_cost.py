"""Cost of a message and of a delivery, in bytecodes executed in the package: independent of machine load.

Benchmarks measure time. Each bound is 10 % above the cost measured when it was set: raise a bound only with
a reason in the commit message.
"""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import simple_chat
from simple_chat.core.limits import Limits
from tests.harness.sessions import RoomHarness

MESSAGE = 890
"""Bytecodes for a line in a packet of its own, from receiving the bytes to appending it to the batch, plus
the author's share of delivering that batch. The rate limit takes a tenth of it, counting a thirtieth."""

DELIVERY = 18
"""Bytecodes to deliver a batch to a caught-up member, whatever its number of lines."""

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] == (3, 12), reason="Python 3.12 does not trace every bytecode"
)

_CORE = str(Path(simple_chat.__file__).parent)
_LINE = "MSG " + "x" * 64


class Meter:
    """Count the bytecodes executed in the package within a ``with`` block."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Meter":
        self._outer = sys.gettrace()  # may be the coverage tracer
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


def cost(members: int, authors: int) -> int:
    """Return the bytecodes of a turn in which some members post one line each."""
    harness = RoomHarness(presence_limit=0)
    clients = harness.enter(*(f"user{number}" for number in range(members)), limits=Limits())
    with Meter() as meter:
        for client in clients[:authors]:
            client.send(_LINE)
        harness.turn()
    assert all(len(client.read()) == authors - (client in clients[:authors]) for client in clients)
    return meter.count


def test_delivery_cost_is_within_its_bound() -> None:
    assert cost(101, 1) - cost(100, 1) <= DELIVERY


def test_delivery_cost_is_independent_of_the_number_of_lines() -> None:
    assert cost(101, 50) - cost(100, 50) == cost(101, 1) - cost(100, 1)


def test_message_cost_is_within_its_bound() -> None:
    assert cost(100, 51) - cost(100, 50) <= MESSAGE
