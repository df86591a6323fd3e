"""However a member goes, the others are told once, and the name is free."""

from collections.abc import Awaitable, Callable

import pytest

from tests.harness.peer import Peer
from tests.harness.server import run_server_in_loop


async def leave(peer: Peer) -> None:
    assert await peer.ask("LEAVE") == ["OK LEAVE"]


async def quit_(peer: Peer) -> None:
    peer.send("QUIT")
    assert await peer.rest() == ["BYE quit"]


async def half_close(peer: Peer) -> None:
    peer.half_close()
    assert await peer.rest() == ["BYE quit"]


async def close(peer: Peer) -> None:
    await peer.close()


async def reset(peer: Peer) -> None:
    await peer.reset()


async def reset_in_mid_line(peer: Peer) -> None:
    peer.write(b"MSG half a li")
    await peer.reset()


async def reset_with_lines_in_flight(peer: Peer) -> None:
    peer.send(*["PING"] * 10_000)
    await peer.reset()


async def close_without_reading(peer: Peer) -> None:
    peer.pause()
    peer.send(*["HELP"] * 10_000)
    await peer.close()


ENDS = [
    leave,
    quit_,
    half_close,
    close,
    reset,
    reset_in_mid_line,
    reset_with_lines_in_flight,
    close_without_reading,
]


@pytest.mark.parametrize("end", ENDS)
async def test_a_name_is_free_at_once_and_its_left_told_once(end: Callable[[Peer], Awaitable[None]]) -> None:
    async with run_server_in_loop() as harness:
        (bob, ann), other = await harness.join_all("bob", "ann"), await harness.connect()
        await end(ann)
        assert await bob.until("LEFT ann") == []
        assert await other.ask("JOIN Ann") == ["OK JOIN Ann"]
        assert await bob.ask("WHO") == ["JOINED Ann", "NAMES bob Ann", "OK WHO 2"]


@pytest.mark.parametrize("end", [leave, quit_, half_close])
async def test_name_is_free_when_the_leave_is_answered(end: Callable[[Peer], Awaitable[None]]) -> None:
    async with run_server_in_loop() as harness:
        ann, other = await harness.join("ann"), await harness.connect()
        await end(ann)
        assert await other.ask("JOIN ann") == ["OK JOIN ann"]


async def test_name_can_be_left_and_taken_again_in_one_packet() -> None:
    async with run_server_in_loop() as harness:
        bob, ann = await harness.join_all("bob", "ann")
        assert await ann.ask("LEAVE", "JOIN ann", "LEAVE", "JOIN anna") == [
            "OK LEAVE",
            "OK JOIN ann",
            "OK LEAVE",
            "OK JOIN anna",
        ]
        assert await bob.barrier() == ["LEFT ann", "JOINED ann", "LEFT ann", "JOINED anna"]


async def test_only_one_of_many_gets_a_name() -> None:
    async with run_server_in_loop() as harness:
        observer = await harness.join("observer")
        peers = [await harness.connect() for _ in range(20)]
        for peer in peers:
            peer.send("JOIN ann")
        answers = [(await peer.barrier())[0].split()[:2] for peer in peers]
        assert answers.count(["OK", "JOIN"]) == 1
        assert answers.count(["ERR", "name-taken"]) == 19
        assert await observer.barrier() == ["JOINED ann"]


async def test_the_room_is_empty_when_all_have_vanished() -> None:
    async with run_server_in_loop() as harness:
        observer = await harness.join("observer")
        names = {f"user{number}" for number in range(50)}
        peers = [await harness.join(name) for name in names]
        for place, peer in enumerate(peers):
            await (peer.reset() if place % 2 else peer.close())
        lines = [await observer.line() for _ in range(2 * len(names))]
        assert {line.removeprefix("LEFT ") for line in lines if line.startswith("LEFT ")} == names
        assert await observer.ask("WHO") == ["NAMES observer", "OK WHO 1"]
