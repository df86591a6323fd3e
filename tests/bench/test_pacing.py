"""The closed loop keeps its window full; the open loop sends what is due."""

import asyncio
from types import SimpleNamespace

import pytest

from simple_chat.bench import pacing
from simple_chat.bench.pacing import ClosedLoop, OpenLoop

SECOND = 1_000_000_000


def test_closed_loop_fills_its_window_and_refills_it_with_each_complete_fan_out() -> None:
    sent: list[int] = []
    loop = ClosedLoop(sent.append, fan_out=3, window=4)
    loop.start()
    counts = [len(sent)]
    for lines in (2, 1, 6):
        loop.on_delivered(lines)
        counts.append(len(sent))
    loop.stop()
    loop.on_delivered(30)
    assert [*counts, len(sent)] == [4, 4, 5, 7, 7]


async def test_open_loop_sends_what_is_due_and_stamps_late_messages_with_the_due_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 10 * SECOND
    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic_ns=lambda: now))
    sent: list[int] = []
    loop = OpenLoop(sent.append, rate=2)
    loop.start()
    now += SECOND  # as if the process had been stalled
    async with asyncio.timeout(10):
        while len(sent) < 3:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
    loop.stop()
    assert [at / SECOND for at in sent] == [10, 10.5, 11]
