"""Bytes on their way in: packets, line ends, lines that are too long or broken, telnet."""

import pytest

from simple_chat import Settings
from tests.harness.peer import Peer
from tests.harness.server import ServerHarness, run_server_in_loop

CONVERSATION = (
    "JOIN ann\nMSG caf\u00e9 \N{PILE OF POO}\nPING 1\n\n\nWHO\nNONSENSE\nMSG\nHISTORY x\n"
    "PING 2\r\nLEAVE\nMSG out\n" + "y" * 100 + "\nPING 3\nJOIN bob\r\nMSG in\nWHO\n"
).encode() + b"MSG \xff\x80\nMSG \xc3\nPING 4\nQUIT\n"


async def answers_to(harness: ServerHarness, packets: list[bytes]) -> bytes:
    """Send packets one after the other, each when the server has read the one before."""
    peer, clock = await harness.connect(), await harness.connect()
    for packet in packets:
        peer.write(packet)
        await clock.barrier()
    await peer.rest()
    return bytes(peer.received)


async def test_the_answers_do_not_depend_on_the_packets() -> None:
    lines = CONVERSATION.splitlines(keepends=True)
    single_bytes = [CONVERSATION[at : at + 1] for at in range(len(CONVERSATION))]
    async with run_server_in_loop(Settings(max_line=64)) as harness:
        whole = await answers_to(harness, [CONVERSATION])
        assert await answers_to(harness, lines) == whole
        assert await answers_to(harness, single_bytes) == whole
    assert whole.endswith(b"\r\nPONG 4\r\nBYE quit\r\n")
    assert [line.split()[1] for line in whole.decode().splitlines() if line.startswith("ERR ")] == [
        "unknown-command",
        "empty-message",
        "bad-syntax",
        "not-joined",
        "line-too-long",
        "not-utf8",
        "not-utf8",
    ]


async def test_line_ends_follow_the_client_from_its_first_crlf_on() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        ann.send("PING 1")
        assert await ann.line() == "PONG 1"
        ann.write(b"PING 2\r\nPING 3\n")
        assert await ann.lines(2) == ["PONG 2\r", "PONG 3\r"]
        await bob.ask("MSG hi")
        assert await ann.line() == "MSG bob hi\r"
        ann.write(b"MSG hi back\r\n")
        assert await bob.line() == "MSG ann hi back"


async def test_a_line_may_have_exactly_the_bytes_allowed() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        text = "x" * (4096 - len("MSG "))
        ann.write(f"MSG {text}\r\nMSG {text}\n".encode())
        assert await bob.lines(2) == [f"MSG ann {text}"] * 2
        ann.write(f"MSG {text}y\r\n".encode())
        assert (await ann.line()).startswith("ERR line-too-long ")
        assert await bob.barrier() == []


async def test_a_line_of_10_mb_is_refused_once_and_never_held() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        lines = harness.connection(harness.subscriber("ann")).session._codec
        held = 0
        for _ in range(160):
            ann.write(b"MSG smuggled " * 5041)
            await bob.barrier()
            held = max(held, lines.held)
        assert held <= 4096
        ann.write(b"\n")
        (answer,) = await ann.barrier()
        assert answer.startswith("ERR line-too-long ")
        await ann.ask("MSG on we go")
        assert await bob.barrier() == ["MSG ann on we go"]


async def test_the_tail_of_an_overlong_line_is_no_command() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        ann.write(b"x" * 5000)
        assert (await ann.line()).startswith("ERR line-too-long ")
        ann.write(b"\rMSG smuggled")
        await bob.barrier()
        ann.write(b"\nMSG said\n")
        assert await ann.barrier() == []
        assert await bob.barrier() == ["MSG ann said"]


async def test_what_is_not_utf8_is_dropped_and_nothing_else() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        ann.write(b"MSG one\nMSG \xc3\x28\nMSG \xed\xa0\x80\nMSG two\n")
        answers = await ann.barrier()
        assert [answer.split()[:2] for answer in answers] == [["ERR", "not-utf8"]] * 2
        assert await bob.barrier() == ["MSG ann one", "MSG ann two"]


async def test_complete_lines_before_a_half_close_are_carried_out() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        ann.send(*(f"MSG {number}" for number in range(1000)), "PING done")
        ann.half_close()
        assert await ann.rest() == ["PONG done", "BYE quit"]
        assert await bob.until("LEFT ann") == [f"MSG ann {number}" for number in range(1000)]


async def test_a_last_line_without_its_end_is_not_carried_out() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        ann.write(b"MSG whole\nMSG hal")
        ann.half_close()
        error, bye = await ann.rest()
        assert error.startswith("ERR incomplete-line ")
        assert bye == "BYE quit"
        assert await bob.until("LEFT ann") == ["MSG ann whole"]


async def test_an_overlong_last_line_is_refused_once() -> None:
    async with run_server_in_loop() as harness:
        peer = await harness.connect()
        peer.write(b"x" * 5000)
        peer.half_close()
        error, bye = await peer.rest()
        assert error.startswith("ERR line-too-long ")
        assert bye == "BYE quit"


async def raw_line(peer: Peer, data: bytes) -> bytes:
    """Send bytes and return the line that is the answer, as it came."""
    peer.write(data)
    return (await peer.line()).encode(errors="surrogateescape")


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (b"\xff\xfd\x03", b"\xff\xfc\x03"),  # DO -> WONT
        (b"\xff\xfb\x18", b"\xff\xfe\x18"),  # WILL -> DONT
        (b"\xff\xfe\x01", b""),
        (b"\xff\xfc\x01", b""),
        (b"\xff\xf1", b""),
        (b"\xff\xfa\x18\x00xterm\n\xff\xf0", b""),
    ],
)
async def test_telnet_negotiation_is_refused_and_never_text(request_: bytes, refusal: bytes) -> None:
    async with run_server_in_loop() as harness:
        peer, clock = await harness.connect(), await harness.connect()
        assert await raw_line(peer, b"PI" + request_ + b"NG 1\n") == refusal + b"PONG 1"
        for at in range(len(request_)):
            peer.write(request_[at : at + 1])
            await clock.barrier()
        assert (await raw_line(peer, b"PING 2\n")).endswith(b"PONG 2")
