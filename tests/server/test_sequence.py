"""One sequence for all, and answers in their places."""

import asyncio

import pytest

from simple_chat import Settings
from tests.harness.checker import check
from tests.harness.peer import Peer
from tests.harness.server import run_server_in_loop
from tests.harness.transcript import End, Recording

FILLER = "x" * 4000
SMALL = 32 * 1024


def recording(peer: Peer) -> Recording:
    """What the checker wants to know of a peer who has seen its BYE."""
    return Recording(label=peer.sent[0], sent=peer.sent, received=bytes(peer.received), end=End.CLEAN)


async def test_a_pong_means_that_all_have_been_sent_what_came_before() -> None:
    async with run_server_in_loop() as harness:
        peers = await harness.join_all(*(f"user{number}" for number in range(8)))
        for number, speaker in enumerate(peers * 5):
            assert await speaker.ask(f"MSG {number}") == []
            for listener in peers:
                said = [] if listener is speaker else [f"MSG user{number % 8} {number}"]
                assert await listener.barrier() == said


async def test_500_commands_in_one_packet_are_answered_in_their_order() -> None:
    async with run_server_in_loop() as harness:
        peer = await harness.connect()
        commands = [
            command
            for number in range(100)
            for command in (f"PING {number}", f"JOIN name{number}", "WHO", "MSG hi", "LEAVE")
        ]
        expected = [
            answer
            for number in range(100)
            for answer in (
                f"PONG {number}",
                f"OK JOIN name{number}",
                f"NAMES name{number}",
                "OK WHO 1",
                "OK LEAVE",
            )
        ]
        assert await peer.ask(*commands) == expected


async def test_nothing_of_the_room_comes_before_ok_join_or_after_ok_leave() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join("ann"), await harness.connect()
        for number in range(200):
            ann.send(f"MSG {number}")
            bob.send("JOIN bob", "LEAVE")
        await ann.barrier()
        inside = False
        for line in await bob.barrier():
            assert line in ("OK JOIN bob", "OK LEAVE") or inside, line
            inside = {"OK JOIN bob": True, "OK LEAVE": False}.get(line, inside)


async def test_nothing_after_its_left_is_sent_to_a_quitting_member() -> None:
    async with run_server_in_loop() as harness:
        ann, bob, witness = await harness.join_all("ann", "bob", "witness")
        ann.send("QUIT")
        bob.send(*(f"MSG {number}" for number in range(100)))
        assert await ann.rest() == [*await witness.until("LEFT ann"), "BYE quit"]


@pytest.mark.parametrize("presence_limit", [100, 12, 0])
async def test_all_members_see_one_sequence_while_all_talk_at_once(presence_limit: int) -> None:
    async def talk(peer: Peer, name: str) -> None:
        for number in range(100):
            lines = [f"MSG {name} {number}.{part}" for part in range(number % 5)]
            if number % 10 == 9:
                lines += ["LEAVE", f"JOIN {name}"]
            peer.send(*lines)
            if number % 3 == 0:
                await peer.barrier()
        await peer.barrier()
        peer.send("QUIT")
        await peer.rest()

    async with run_server_in_loop(Settings(presence_limit=presence_limit)) as harness:
        observer = await harness.join("observer")
        peers = {name: await harness.join(name) for name in (f"user{number}" for number in range(12))}
        async with asyncio.TaskGroup() as talking:
            for name, peer in peers.items():
                talking.create_task(talk(peer, name))
        observer.send("QUIT")
        await observer.rest()
    sequence = check(
        recording(observer), map(recording, peers.values()), presence=presence_limit > len(peers)
    )
    assert sum(line.startswith("MSG ") for line in sequence) == 12 * 200


async def test_occasional_reader_gets_every_gap() -> None:
    async with run_server_in_loop(Settings(backlog=16 * 1024)) as harness:
        observer, ann, bob = [await harness.join(name) for name in ("observer", "ann", "bob")]
        dozers = [await harness.join(f"dozer{number}", receive_buffer=SMALL) for number in range(5)]
        for number in range(5):
            harness.set_send_buffer(f"dozer{number}", SMALL)
        for number in range(300):
            for talker in (ann, bob):
                await talker.ask(f"MSG {number}.1 {FILLER}", f"MSG {number}.2")
            for phase, dozer in enumerate(dozers, start=number):
                await doze(dozer, phase)
        for peer in (*dozers, ann, bob, observer):
            peer.resume()
            peer.send("QUIT")
            await peer.rest()
    check(recording(observer), map(recording, (ann, bob, *dozers)))
    for dozer in dozers:
        assert dozer.received.count(b"\nGAP ") > 1


async def doze(dozer: Peer, phase: int) -> None:
    """Talk all the time, but read only for some of it, and come back then."""
    dozer.send(f"MSG {phase}")
    if phase % 50 == 0:
        dozer.resume()
        await dozer.ask("LEAVE", dozer.sent[0])
    elif phase % 50 == 10:
        dozer.pause()
