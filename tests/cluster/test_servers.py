"""Members on several servers are in one room, whoever comes, goes, ends or dies."""

import asyncio
import contextlib
import itertools
import resource
from collections import Counter
from collections.abc import Iterator
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from simple_chat.cluster import replicator as journal_module
from simple_chat.cluster.entry import END, encode_entry
from tests.harness import peer as peers_module
from tests.harness.cluster import BUSY, TAKEN, doomed_server, gather, house, houses, join, options
from tests.harness.nats import Engine
from tests.harness.peer import Peer, connect
from tests.harness.programs import DEADLINE, run_server_process
from tests.harness.server import ServerHarness
from tests.server.test_backpressure import SMALL, Talk, follow

RACED = 300
LEASE_DEADLINE = 60.0  # seconds; a lease is 30 of them, and a server is heard of every 5


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Enough for all who race, on both sides."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8 * RACED, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def who(peer: Peer) -> list[str]:
    """Who is in the room, sorted: which of several that came at once is first is nobody's business."""
    *lines, end = await peer.ask("WHO")
    names = [name for line in lines for name in line.removeprefix("NAMES ").split()]
    assert end == f"OK WHO {len(names)}"
    return sorted(names)


async def history(peer: Peer) -> list[str]:
    """What was said before, each line with its time; what is said meanwhile may come first."""
    *lines, end = await peer.ask("HISTORY")
    past = [line for line in lines if line.startswith("PAST ")]
    assert end == f"OK HISTORY {len(past)}"
    return past


def texts(past: list[str]) -> list[str]:
    """What was said, without the times."""
    return [" ".join(line.split()[2:]) for line in past]


# What is said


async def test_all_hear_the_same_in_the_same_order_and_nobody_hears_itself(
    engine: Engine, room_name: str
) -> None:
    async with houses(engine, room_name) as homes:
        listeners = await gather(homes, "listener0", "listener1", "listener2")
        names = ("ann", "bob", "cleo")
        speakers = await gather(homes, *names)

        async def speak(name: str, speaker: Peer) -> list[str]:
            said = [f"MSG {name}-{number}" for number in range(300)]
            heard = [await speaker.ask(*said[at : at + 5]) for at in range(0, len(said), 5)]
            return [line for lines in heard for line in lines]

        heard = await asyncio.gather(*map(speak, names, speakers))
        heard = [lines + await peer.barrier() for peer, lines in zip(speakers, heard, strict=True)]
        whole, *others = [await listener.barrier() for listener in listeners]
        whole = [line for line in whole if line.startswith("MSG ")]
        assert len(whole) == 900
        for lines in others:
            assert [line for line in lines if line.startswith("MSG ")] == whole
        for name, lines in zip(names, heard, strict=True):
            assert lines == [line for line in whole if not line.startswith(f"MSG {name} ")]
            own = [line for line in whole if line.startswith(f"MSG {name} ")]
            assert own == [f"MSG {name} {name}-{number}" for number in range(300)]


async def test_what_a_pong_is_behind_is_everywhere_before_the_next_one(
    engine: Engine, room_name: str
) -> None:
    async with houses(engine, room_name) as homes:
        ann, bob, cleo = await gather(homes, "ann", "bob", "cleo")
        for number in range(50):
            assert await ann.ask(f"MSG {number}") == []
            assert await bob.barrier() == [f"MSG ann {number}"]
            assert await cleo.barrier() == [f"MSG ann {number}"]


async def test_what_needs_no_log_is_answered_while_others_talk(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name, 2) as homes:
        ann, bob = await gather(homes, "ann", "bob")
        answered = asyncio.Event()

        async def talk() -> None:
            while not answered.is_set():
                await ann.ask("MSG 1", "MSG 2")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(talk())
            for _ in range(200):
                bob.send("HELP")
                await bob.until("OK HELP")
            answered.set()


async def test_history_is_the_same_everywhere_with_the_same_times(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name) as homes:
        peers = await gather(homes, "ann", "bob", "cleo")
        for number in range(20):
            await asyncio.gather(*(peer.ask(f"MSG {number}", f"MSG {number} too") for peer in peers))
        past = await history(peers[0])
        assert len(past) == 120
        assert len({line.split()[1] for line in past}) > 1
        for peer in peers[1:]:
            assert await history(peer) == past
        async with house(engine, room_name) as late:
            assert await history(await late.join("dora")) == past


async def test_history_outlives_all_servers(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name, 2) as homes:
        ann, bob = await gather(homes, "ann", "bob")
        for number in range(10):
            await ann.ask(f"MSG {number}")
            await bob.ask(f"MSG {number}")
        past = await history(ann)
    assert len(past) == 20
    for _ in range(2):
        async with houses(engine, room_name, 2) as homes:
            for peer in await gather(homes, "ann", "bob"):
                assert await history(peer) == past


async def test_history_that_is_set_longer_is_as_long_on_a_server_that_starts_later(
    engine: Engine, room_name: str
) -> None:
    said = [f"ann {number}" for number in range(1500)]
    async with house(engine, room_name, history=1500) as first:
        ann = await first.join("ann")
        for at in range(0, len(said), 10):
            await ann.ask(*(f"MSG {number}" for number in range(at, at + 10)))
        assert texts(await history(ann)) == said
    async with house(engine, room_name, history=1500) as second:
        ann = await second.join("ann")  # behind this its server has put into the log who is there
        assert texts(await history(ann)) == said
        async with house(engine, room_name, history=1500) as third:
            assert texts(await history(await third.join("bob"))) == said


async def test_what_does_not_count_is_in_nobodys_history(engine: Engine, room_name: str) -> None:
    async with house(engine, room_name) as first:
        ann = await first.join("ann")
        await ann.ask("MSG 1")
        async with engine.client() as client:  # as from a server that does not know yet that it is dead
            ghost = encode_entry("ghost", 7, [b"MSG ghost boo\n"])
            await client.jetstream().publish(f"{room_name}.log", ghost)
        await ann.ask("MSG 2")
        past = await history(ann)
        assert texts(past) == ["ann 1", "ann 2"]
    async with house(engine, room_name) as second:
        ann = await second.join("ann")  # behind this its server has put into the log who is there
        assert await history(ann) == past
        async with house(engine, room_name) as third:
            assert await history(await third.join("bob")) == past


async def test_what_is_not_from_a_chat_server_does_no_harm(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name, 2) as homes:
        ann, bob = await gather(homes, "ann", "bob")
        async with engine.client() as client:
            for subject, data in (("log", b""), ("log", b"\xff x\n"), ("log", b"a b\n"), ("other", b"x")):
                await client.jetstream().publish(f"{room_name}.{subject}", data)
        assert await ann.ask("MSG 1") == []
        assert await bob.barrier() == ["MSG ann 1"]


async def test_each_has_the_line_ends_of_its_own(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name, 2) as (near, far):
        telnet = await near.connect()
        telnet.write(b"\xff\xfd\x01JOIN ann\r\n")
        telnet.write(b"PING 1\r\n")
        assert await telnet.until("PONG 1\r") == ["\udcff\udcfc\x01OK JOIN ann\r"]
        bob = await far.join("bob")
        await bob.ask("MSG hello")
        telnet.write(b"MSG hi\r\nPING 2\r\n")
        assert await telnet.until("PONG 2\r") == ["JOINED bob\r", "MSG bob hello\r"]
        assert await bob.barrier() == ["MSG ann hi"]
        assert texts(await history(bob)) == ["bob hello", "ann hi"]


async def test_who_does_not_read_is_told_how_much_it_missed_and_delays_nobody(
    engine: Engine, room_name: str
) -> None:
    async with houses(engine, room_name, 2, backlog=SMALL) as (near, far):
        talker, listener, slow = (
            await far.join("talker"),
            await near.join("listener"),
            await near.join("slow", receive_buffer=4096),
        )
        for peer in (talker, listener, slow):
            await peer.barrier()
        near.set_send_buffer("slow", 4096)
        slow.pause()
        talk = Talk(near, talker, listener)
        await talk.say_until_behind("slow")
        await talk.say(50)
        slow.resume()
        assert follow(await slow.barrier(), said=talk.said) > 0


# Who is there


async def test_comings_and_goings_are_told_everywhere(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name) as homes:
        ann, bob, cleo = await gather(homes, "ann", "bob", "cleo")
        for peer in (ann, bob, cleo):
            assert await who(peer) == ["ann", "bob", "cleo"]
        assert await cleo.ask("LEAVE") == ["OK LEAVE"]
        assert await cleo.ask("JOIN Cleopatra") == ["OK JOIN Cleopatra"]
        for peer in (ann, bob):
            assert await peer.barrier() == ["LEFT cleo", "JOINED Cleopatra"]
            assert await who(peer) == ["Cleopatra", "ann", "bob"]
        cleo.send("MSG bye", "QUIT")
        assert await cleo.rest() == ["BYE quit"]
        for peer in (ann, bob):
            assert await peer.until("LEFT Cleopatra") == ["MSG Cleopatra bye"]
            assert await who(peer) == ["ann", "bob"]
        bob.send("MSG hi")
        bob.half_close()
        assert await bob.rest() == ["BYE quit"]
        assert await ann.until("LEFT bob") == ["MSG bob hi"]
        assert await who(ann) == ["ann"]


async def test_a_name_is_of_one_everywhere_whatever_the_case(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name) as homes:
        await homes[0].join("Ann")
        for home in homes:
            peer = await home.connect()
            assert await peer.ask("JOIN Ann", "JOIN ann", "JOIN ANN") == [TAKEN] * 3


@pytest.mark.usefixtures("many_descriptors")
async def test_of_all_who_want_a_name_at_once_one_gets_it(engine: Engine, room_name: str) -> None:
    names = [f"user{number}" for number in range(RACED)]
    async with houses(engine, room_name, presence_limit=0) as homes:
        rivals = [[await home.connect() for _ in names] for home in homes]
        for number, name in enumerate(names):
            for turn in range(3):  # each is the first one for a third of the names
                index = (number + turn) % 3
                wanted = name.upper() if index == number % 2 else name
                rivals[index][number].send(f"JOIN {wanted}")
        for number, name in enumerate(names):
            answers = Counter([(await row[number].line()).casefold() for row in rivals])
            assert answers == Counter({f"ok join {name}": 1, TAKEN.casefold(): 2})
        for home in homes:
            held = await who(await home.connect())
            assert sorted(name.casefold() for name in held) == sorted(names)


async def test_a_name_that_was_left_is_free_on_the_other_servers_at_once(
    engine: Engine, room_name: str
) -> None:
    async with houses(engine, room_name) as homes:
        wanderers = [await home.connect() for home in homes]
        for number in range(90):
            wanderer = wanderers[number % 3]
            wanderer.send("JOIN ann")
            assert await wanderer.line() == "OK JOIN ann"
            wanderer.send("LEAVE")
            assert await wanderer.line() == "OK LEAVE"


async def test_a_name_is_free_at_once_when_its_connection_is_gone(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name, 2) as (near, far):
        bob = await far.join("bob")
        ann = await near.join("ann")
        for number in range(30):
            if number % 2:
                await ann.close()
            else:
                await ann.reset()
            ann = await near.connect()
            ann.send("JOIN ann")
            assert await ann.line() == "OK JOIN ann"
        assert await bob.barrier() == ["JOINED ann", *(["LEFT ann", "JOINED ann"] * 30)]


async def test_who_is_gone_left_once_everywhere(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name) as homes:
        ann, bob, cleo = await gather(homes, "ann", "bob", "cleo")
        await cleo.reset()
        assert await ann.line() == "LEFT cleo"
        assert await bob.line() == "LEFT cleo"
        again = await homes[0].join("cleo")
        assert await bob.barrier() == ["JOINED cleo"]
        assert await ann.barrier() == ["JOINED cleo"]
        assert await who(again) == ["ann", "bob", "cleo"]


async def test_a_server_that_starts_later_knows_who_is_there(engine: Engine, room_name: str) -> None:
    async with houses(engine, room_name, 2) as homes:
        ann, bob = await gather(homes, "ann", "bob")
        guests = [await homes[number % 2].join(f"guest{number}") for number in range(40)]
        await guests[0].ask("LEAVE")
        await guests[1].ask("LEAVE")
        await ann.ask("MSG hello")
        there = await who(ann)
        assert len(there) == 40
        async with house(engine, room_name) as late:
            stranger = await late.connect()
            assert await who(stranger) == there
            assert await stranger.ask("JOIN bob", "JOIN Guest2") == [TAKEN, TAKEN]
            assert await stranger.ask("JOIN guest0") == ["OK JOIN guest0"]
            assert texts(await history(stranger)) == ["ann hello"]
            await bob.barrier()
            await stranger.ask("MSG hi")
            assert await bob.barrier() == ["MSG guest0 hi"]
            await guests[2].close()
            assert await stranger.line() == "LEFT guest2"


async def test_above_the_presence_limit_nobodys_coming_and_going_is_told(
    engine: Engine, room_name: str
) -> None:
    async with houses(engine, room_name, presence_limit=3) as homes:
        ann, bob, cleo = await gather(homes, "ann", "bob", "cleo")
        dora = await homes[1].join("dora")
        emma = await homes[2].join("emma")
        await dora.ask("MSG hello", "LEAVE")
        for peer in (ann, bob, cleo):
            assert await peer.barrier() == ["MSG dora hello"]
            assert await who(peer) == ["ann", "bob", "cleo", "emma"]
        await emma.ask("LEAVE")
        await cleo.ask("LEAVE")
        assert await ann.barrier() == ["LEFT cleo"]
        assert await bob.barrier() == ["LEFT cleo"]


# Servers that end


async def test_members_of_a_server_that_is_told_to_end_have_everything_and_a_bye(
    engine: Engine, room_name: str
) -> None:
    async with house(engine, room_name) as home:
        with run_server_process(*options(engine, room_name)) as ending:
            ann = await home.join("ann")
            bob = await join(ending, "bob")
            cleo = await join(ending, "cleo")
            for peer in (ann, bob):
                await peer.barrier()
            said = [f"MSG ann {number}" for number in range(500)]
            await ann.ask(*(f"MSG {number}" for number in range(500)))
            ending.process.terminate()
            assert await bob.rest() == [*said, "BYE shutdown"]
            assert await cleo.rest() == [*said, "BYE shutdown"]
            left = await ann.lines(2)
            assert sorted(left) == ["LEFT bob", "LEFT cleo"]
            for name in ("bob", "cleo"):
                await home.join(name)
            assert await ann.barrier() == ["JOINED bob", "JOINED cleo"]
            assert await asyncio.to_thread(ending.process.wait, DEADLINE) == 0


async def test_what_a_server_took_before_it_ended_is_everywhere(engine: Engine, room_name: str) -> None:
    async with house(engine, room_name) as home:
        with run_server_process(*options(engine, room_name)) as ending:
            ann = await home.join("ann")
            bob = await join(ending, "bob")
            cleo = await join(ending, "cleo")
            await ann.barrier()
            await bob.barrier()

            taken: list[int] = []

            async def speak() -> None:
                with contextlib.suppress(AssertionError):  # which is how the end is told
                    for number in itertools.count():
                        bob.send(f"MSG {number}", f"PING {number}")
                        if BUSY not in await bob.until(f"PONG {number}"):
                            taken.append(number)

            speaking = asyncio.create_task(speak())
            await ann.until("MSG bob 20")
            ending.process.terminate()
            await speaking
            heard = [f"MSG bob {number}" for number in range(21)]
            heard += [line for line in await ann.barrier() if line.startswith("MSG ")]
            assert heard == [f"MSG bob {number}" for number in range(len(heard))]
            assert await cleo.rest() == [*heard, "BYE shutdown"]
            assert taken == list(range(len(taken)))
            assert len(taken) <= len(heard)
            assert bob.received.endswith(b"\nBYE shutdown\n")
            assert await asyncio.to_thread(ending.process.wait, DEADLINE) == 0


async def test_a_server_that_ends_acknowledges_nothing_that_it_does_not_take(
    engine: Engine, room_name: str
) -> None:
    async with house(engine, room_name) as home:
        with run_server_process(*options(engine, room_name), "--drain", "60") as ending:
            ann = await home.join("ann")
            bob = await join(ending, "bob")
            await ann.barrier()
            for index in range(3):  # so that the end takes a while
                engine.pause(index)
            ending.process.terminate()
            ending.log.expect_exact("shutting down")
            bob.send("MSG late", "PING late")
            await asyncio.to_thread(engine.start)
            told = await bob.rest()
            taken = "PONG late" in told and BUSY not in told
            heard = await ann.until("LEFT bob")
            assert ("MSG bob late" in heard) >= taken
            assert await asyncio.to_thread(ending.process.wait, DEADLINE) == 0


# Servers that have nothing to say


async def test_a_server_with_nothing_to_say_is_heard_once_in_a_while(
    engine: Engine, room_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rarely = 0.5
    monkeypatch.setattr(journal_module, "HEARTBEAT_INTERVAL", rarely)
    async with house(engine, room_name), engine.client() as client:
        log = await client.jetstream().subscribe(f"{room_name}.log")
        beats = [(await log.next_msg(DEADLINE)).metadata.timestamp for _ in range(5)]
        assert all(
            (later - earlier).total_seconds() >= rarely for earlier, later in itertools.pairwise(beats)
        )


async def test_a_server_says_nothing_behind_its_end(
    engine: Engine, room_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "HEARTBEAT_INTERVAL", 0.05)
    async with engine.client() as client:
        async with house(engine, room_name, drain=1) as home:
            slow = await connect(home.server.address, receive_buffer=4096)
            await slow.ask("JOIN slow")
            slow.pause()
            talker = await home.join("talker")
            for _ in range(100):
                await talker.ask(*(f"MSG {'x' * 4000}" for _ in range(15)))  # more than the kernel takes
        await slow.close()
        last = await client.jetstream().get_last_msg(room_name, f"{room_name}.log")
        assert last.data is not None
        assert last.data.endswith(END)


# Servers that die


async def test_members_of_a_dead_server_leave_once_and_one_that_comes_back_begins_anew(
    engine: Engine, room_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_module, "DEADLINE", LEASE_DEADLINE)
    extra = options(engine, room_name)
    async with houses(engine, room_name, 2) as homes:
        with doomed_server(engine, room_name) as dying, run_server_process(*extra) as stopped:
            ann, zoe = await gather(homes, "ann", "zoe")
            bob, bert = await join(dying, "bob"), await join(dying, "bert")
            cleo, carl = await join(stopped, "cleo"), await join(stopped, "carl")
            for peer in (ann, zoe):
                assert await peer.barrier() == ["JOINED bob", "JOINED bert", "JOINED cleo", "JOINED carl"]
            await cleo.ask("MSG hello")
            dying.process.send_signal(SIGKILL)
            stopped.process.send_signal(SIGSTOP)
            await bob.wait_closed()
            await bert.wait_closed()
            cleo.send("MSG ghost")
            await check_that_they_left(ann, zoe)
            async with house(engine, room_name) as late:
                await check_that_names_are_free(late, "bob", "bert", "cleo", "carl")
            joined = ["JOINED bob", "JOINED bert", "JOINED cleo", "JOINED carl"]
            left = ["LEFT bob", "LEFT bert", "LEFT cleo", "LEFT carl"]
            for peer in (ann, zoe):
                lines = await peer.barrier()
                assert [line for line in lines if line.startswith("JOINED")] == joined
                assert sorted(line for line in lines if line.startswith("LEFT")) == sorted(left)
            stopped.process.send_signal(SIGCONT)
            for peer in (cleo, carl):
                await peer.wait_closed()
                assert b"BYE" not in peer.received
            dora = await join(stopped, "dora")
            await dora.ask("MSG back")
            assert await who(dora) == ["ann", "dora", "zoe"]
            for peer in (ann, zoe):
                assert await peer.barrier() == ["JOINED dora", "MSG dora back"]
                assert texts(await history(peer)) == ["cleo hello", "dora back"]
            assert texts(await history(dora)) == ["cleo hello", "dora back"]
            await dora.close()
            for peer in (ann, zoe):
                assert await peer.line() == "LEFT dora"


async def check_that_they_left(*peers: Peer) -> None:
    """Wait for the four who were on two servers; those of one leave in the order of their coming."""
    told = [await peer.lines(5) for peer in peers]
    assert all(lines == told[0] for lines in told)
    hello, *left = told[0]
    assert hello == "MSG cleo hello"
    assert left in (
        ["LEFT bob", "LEFT bert", "LEFT cleo", "LEFT carl"],
        ["LEFT cleo", "LEFT carl", "LEFT bob", "LEFT bert"],
    )


async def check_that_names_are_free(home: ServerHarness, *names: str) -> None:
    for name in names:
        await home.join(name)
