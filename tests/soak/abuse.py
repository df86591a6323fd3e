"""Good members among bad company: is anything lost, and what does it do to the time that a message takes?

    python -m tests.soak.abuse [options] [-- options of the server]

for example ``python -m tests.soak.abuse --seconds 60 -- --join-timeout 10``. First the good members are among
themselves, then with all the bad ones at once. The exit status is 1 if anything was lost or out of order. It
runs by hand, on Linux: the times are those of one machine. The server has a processor for itself if there are
two.
"""
# ruff: noqa: T201 - a program prints

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import sys
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic_ns

from tests.harness.checker import End, Recording, Violation, check
from tests.harness.peer import DEADLINE, Peer
from tests.harness.random_clients import new_event_loop

_ROOT = Path(__file__).parents[2]
_SECOND = 1_000_000_000
_TICKS = os.sysconf("SC_CLK_TCK")
_RAMP = 120.0  # seconds until all bad company must be there
_NICE = 10  # so that bad company takes no processor time from the good members' clock


@dataclass(slots=True)
class Times:
    """What was measured, in nanoseconds.

    Attributes:
        begin: what was to be said before does not count.
        taken: from when a message was to be said until it was received.
        late: from when a message was to be said until it was: the tool's own share.
    """

    begin: int = 0
    taken: "array[int]" = field(default_factory=lambda: array("q"))
    late: "array[int]" = field(default_factory=lambda: array("q"))


class Member(Peer):
    """A good member: says something now and then, and reads everything."""

    def __init__(self, times: Times) -> None:
        super().__init__()
        self._times = times
        self._torn = b""

    def data_received(self, data: bytes) -> None:
        now = monotonic_ns()
        super().data_received(data)
        *lines, self._torn = (self._torn + data).split(b"\n")
        for line in lines:
            if line.startswith(b"MSG "):
                due = int(line.rpartition(b" ")[2])
                if due >= self._times.begin > 0:
                    self._times.taken.append(now - due)

    def recording(self, label: str) -> Recording:
        """What the checker wants to know."""
        return Recording(label=label, sent=self.sent, received=bytes(self.received), end=End.CLEAN)

    @property
    def lost(self) -> int:
        """Lines that it was told it missed."""
        return sum(int(gap) for gap in re.findall(rb"^GAP (\d+)$", self.received, re.MULTILINE))


@dataclass(slots=True)
class Usage:
    """What a process has used.

    Attributes:
        seconds: of processor time.
        resident: bytes of memory, at the most.
    """

    seconds: float
    resident: int


@dataclass(slots=True)
class Result:
    """What came of a run."""

    times: Times
    said: int
    lost: int
    violation: str
    server: Usage
    seconds: float  # that were measured
    company: dict[str, float]
    log: list[str]  # of the server, what is not information

    @property
    def sound(self) -> bool:
        """Whether nothing was lost or out of order."""
        return not self.violation and not self.lost and not self.log


class Server:
    """A server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.address = ("", 0)
        self.log: list[str] = []

    async def start(self) -> None:
        """Wait until it listens."""
        async with asyncio.timeout(DEADLINE):
            while not self.address[1]:
                line = await self._line()
                assert line, "\n".join(self.log)
                if told := re.search(r"listening on (127\.0\.0\.1):(\d+)$", line):
                    self.address = (told[1], int(told[2]))

    async def read_log(self) -> None:
        """Read what it logs, up to its end."""
        while await self._line():
            pass

    def usage(self) -> Usage:
        """What it has used up to now."""
        directory = Path(f"/proc/{self.process.pid}")
        ticks = (directory / "stat").read_text().rpartition(")")[2].split()[11:13]
        peak = re.search(r"VmHWM:\s+(\d+) kB", (directory / "status").read_text())
        assert peak
        return Usage(sum(map(int, ticks)) / _TICKS, int(peak[1]) * 1024)

    async def _line(self) -> str:
        assert self.process.stderr
        line = (await self.process.stderr.readline()).decode()
        if line and " INFO " not in line and " more like this: " not in line:
            self.log.append(line.rstrip())
        return line.rstrip("\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both, and print a table.

    Returns:
        The exit status.
    """
    options = _parse(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sum(_company(options)) + options.members + 200 > hard:
        print(f"the limit of {hard} file descriptors is too low", file=sys.stderr)
        return 2
    server_on = _keep_apart()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        quiet = runner.run(_run(options, server_on, abused=False))
        abused = runner.run(_run(options, server_on, abused=True))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    _report(options, quiet, abused)
    return 0 if quiet.sound and abused.sound else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.soak.abuse", description="Good members, bad company.")
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="that are measured (default: 60)")
    add("--members", type=int, default=100, help="good ones (default: 100)")
    add("--messages", type=float, default=20.0, help="a second, of all together (default: 20)")
    add("--idle", type=int, default=10_000, help="who never join (default: 10000)")
    add("--garbage", type=int, default=1000, help="who send random bytes (default: 1000)")
    add("--pause", type=float, default=1.0, help="seconds between these, 0.001 for a flood (default: 1)")
    add("--mute", type=int, default=1000, help="who join and never read (default: 1000)")
    add("--drip", type=int, default=100, help="who send a byte a second (default: 100)")
    add("server", nargs="*", help="options of the server, behind a --")
    return parser.parse_args(arguments)


def _company(options: argparse.Namespace) -> tuple[int, int, int, int]:
    return options.idle, options.garbage, options.mute, options.drip


def _keep_apart() -> set[int]:
    """Leave a processor to the server, if there are two; return it."""
    every = sorted(os.sched_getaffinity(0))
    if len(every) > 1:
        os.sched_setaffinity(0, every[1:])
    return set(every[:1])


async def _run(options: argparse.Namespace, server_on: set[int], *, abused: bool) -> Result:
    times = Times()
    async with _server(options.server, server_on) as server:
        members = [await _join(server.address, f"good{number}", times) for number in range(options.members)]
        observer, *speakers = members
        say = asyncio.create_task(_say(speakers, options.messages, times))
        async with _bad_company(options, server.address, abused=abused) as company:
            print(f"{'abused' if abused else 'quiet'}: {options.seconds:g} s", file=sys.stderr)
            before, times.begin = server.usage(), monotonic_ns()
            await asyncio.wait([say], timeout=options.seconds)
            usage, seconds = server.usage(), (monotonic_ns() - times.begin) / _SECOND
            if say.done():
                say.result()
            say.cancel()
            for member in members:  # while the bad ones are still there
                await member.barrier()
        await _end(server, members)
    return Result(
        times=times,
        said=sum(line.startswith("MSG ") for member in speakers for line in member.sent),
        lost=sum(member.lost for member in members),
        violation=_violation(observer, speakers, presence=not abused),
        server=Usage(usage.seconds - before.seconds, usage.resident),
        seconds=seconds,
        company=company,
        log=server.log,
    )


@contextlib.asynccontextmanager
async def _server(options: Sequence[str], processors: set[int]) -> AsyncIterator[Server]:
    arguments = [sys.executable, "-m", "simple_chat.server", "--port", "0", *options]
    process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE, cwd=_ROOT)
    try:
        server = Server(process)
        os.sched_setaffinity(process.pid, processors)
        await server.start()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _join(address: tuple[str, int], name: str, times: Times) -> Member:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        _, member = await loop.create_connection(lambda: Member(times), *address)
    await member.ask(f"JOIN {name}")
    return member


async def _say(speakers: Sequence[Member], rate: float, times: Times) -> None:
    """Say something at fixed times, in turn, however long it takes to arrive."""
    start = monotonic_ns()
    for number in count():
        due = start + int(number / rate * _SECOND)
        await asyncio.sleep(max(due - monotonic_ns(), 0) / _SECOND)
        times.late.append(monotonic_ns() - due)
        speakers[number % len(speakers)].send(f"MSG {number} {due}")


@contextlib.asynccontextmanager
async def _bad_company(
    options: argparse.Namespace, address: tuple[str, int], *, abused: bool
) -> AsyncIterator[dict[str, float]]:
    """Let bad company in; what became of it is known behind the block."""
    counts: dict[str, float] = {}
    if not abused:
        yield counts
        return
    numbers = (*address, *_company(options), options.pause)
    arguments = ["nice", "-n", str(_NICE), sys.executable, "-m", "tests.soak.abusers", *map(str, numbers)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe, cwd=_ROOT)
    try:
        assert process.stdin
        assert process.stdout
        print("bad company is coming", file=sys.stderr)
        async with asyncio.timeout(_RAMP):
            assert await process.stdout.readline() == b"ready\n", "bad company failed"
        yield counts
        process.stdin.close()
        async with asyncio.timeout(DEADLINE):
            counts.update(json.loads(await process.stdout.read()))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def _end(server: Server, members: Sequence[Member]) -> None:
    """End the server, which says good-bye to everybody."""
    server.process.terminate()
    for member in members:
        await member.rest()
    async with asyncio.timeout(DEADLINE):
        await server.read_log()
        status = await server.process.wait()
    if status:
        server.log.append(f"the exit status is {status}")


def _violation(observer: Member, speakers: Sequence[Member], *, presence: bool) -> str:
    others = [speaker.recording(f"good{number}") for number, speaker in enumerate(speakers, 1)]
    try:
        check(observer.recording("observer"), others, presence=presence)
    except Violation as violation:
        return str(violation)
    return ""


def _report(options: argparse.Namespace, quiet: Result, abused: Result) -> None:
    print(f"{options.members} good members, {options.messages:g} messages/s; bad company: ", end="")
    print("{} idle, {} garbage, {} mute, {} drip".format(*_company(options)))
    print(f"{'':34}{'quiet':>12}{'abused':>12}")
    both = (quiet, abused)

    def row(title: str, values: Sequence[str]) -> None:
        print(f"{title:34}" + "".join(f"{value:>12}" for value in values))

    for title, share in (("median", 0.5), ("99th percentile", 0.99), ("most", 1.0)):
        row(f"delivery, ms: {title}", [_milliseconds(each.times.taken, share) for each in both])
    row("said too late, ms: 99th percentile", [_milliseconds(each.times.late, 0.99) for each in both])
    row("server's processor, %", [f"{each.server.seconds / each.seconds:.0%}" for each in both])
    row("server's memory at most, MiB", [f"{each.server.resident / 2**20:.1f}" for each in both])
    row("deliveries measured", [f"{len(each.times.taken)}" for each in both])
    row("messages said", [f"{each.said}" for each in both])
    row("lines lost", [f"{each.lost}" for each in both])
    for title, value in sorted(abused.company.items()):
        row(f"bad company: {title}", ["", f"{value:g}" if value < 1e6 else f"{value / 1e6:.1f} M"])
    for each in both:
        for line in (each.violation, *each.log):
            if line:
                print(line)


def _milliseconds(values: "array[int]", share: float) -> str:
    ordered = sorted(values)
    return f"{ordered[min(int(share * len(ordered)), len(ordered) - 1)] / 1e6:.2f}" if ordered else "-"


if __name__ == "__main__":
    sys.exit(main())
