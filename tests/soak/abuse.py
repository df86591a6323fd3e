"""Measure the latency of members' messages, first alone and then among thousands of abusers.

    python -m tests.soak.abuse [options] [-- options of the server]

for example ``python -m tests.soak.abuse --seconds 60 -- --join-timeout 10``. The exit status is 1 if anything
was lost, out of order, or logged as a warning. For Linux; the latencies are those of one machine. The server
has a processor for itself if there are two.
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

from tests.harness.async_programs import AsyncServerProcess, run_async_server
from tests.harness.checker import check
from tests.harness.peer import DEADLINE, Peer
from tests.harness.random_clients import new_event_loop
from tests.harness.transcript import End, Recording, Violation

_ROOT = Path(__file__).parents[2]
_SECOND = 1_000_000_000
_TICKS = os.sysconf("SC_CLK_TCK")
_CONNECT_TIMEOUT = 120.0  # seconds for all abusers
_SPARE_FILES = 200
_NICENESS = 10  # of the abusers: they must not take CPU time from the measuring process


@dataclass(slots=True)
class Times:
    """The measured times, in nanoseconds.

    Attributes:
        since: messages that were due before are not measured.
        latencies: from when a message was due until it was received.
        lateness: from when a message was due until it was sent: the part that is not the server's.
    """

    since: int = 0
    latencies: "array[int]" = field(default_factory=lambda: array("q"))
    lateness: "array[int]" = field(default_factory=lambda: array("q"))


class MeasuringPeer(Peer):
    """A member that reads everything, and measures the latency of each message."""

    def __init__(self, times: Times) -> None:
        super().__init__()
        self._times = times
        self._incomplete = b""

    def data_received(self, data: bytes) -> None:
        now = monotonic_ns()
        super().data_received(data)
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in lines:
            if line.startswith(b"MSG "):
                due = int(line.rpartition(b" ")[2])
                if due >= self._times.since > 0:
                    self._times.latencies.append(now - due)

    def recording(self, label: str) -> Recording:
        """Return what the checker needs."""
        return Recording(label=label, sent=self.sent, received=bytes(self.received), end=End.CLEAN)

    @property
    def lost(self) -> int:
        """Number of lines that GAPs reported."""
        return sum(int(gap) for gap in re.findall(rb"^GAP (\d+)$", self.received, re.MULTILINE))


@dataclass(slots=True)
class Usage:
    """Resources that a process used.

    Attributes:
        cpu_seconds: CPU time.
        peak_bytes: largest resident memory.
    """

    cpu_seconds: float
    peak_bytes: int


@dataclass(slots=True)
class Result:
    """Result of one run; `log` has the server's warnings and errors."""

    times: Times
    sent: int
    lost: int
    violation: str
    usage: Usage
    seconds: float
    abuser_counts: dict[str, float]
    log: list[str]

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, out of order or logged."""
        return not self.violation and not self.lost and not self.log


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both runs, print a table, and return the exit status."""
    options = _parse(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = sum(_abusers(options)) + options.members + _SPARE_FILES
    if needed > hard:
        print(f"{needed} open files are needed, but the hard limit is {hard}", file=sys.stderr)
        return 2
    processors = _reserve_processor()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        alone = runner.run(_run(options, processors, abused=False))
        abused = runner.run(_run(options, processors, abused=True))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    _print_report(options, alone, abused)
    return 0 if alone.passed and abused.passed else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.soak.abuse", description="Measure members among abusers."
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="time to measure (default: 60)")
    add("--members", type=int, default=100, help="members that are measured (default: 100)")
    add("--messages", type=float, default=20.0, help="messages per second of all members (default: 20)")
    add("--idle", type=int, default=10_000, help="abusers that never join (default: 10000)")
    add("--garbage", type=int, default=1000, help="abusers that send random bytes (default: 1000)")
    add("--pause", type=float, default=1.0, help="seconds between these, 0.001 for a flood (default: 1)")
    add("--mute", type=int, default=1000, help="abusers that join and never read (default: 1000)")
    add("--drip", type=int, default=100, help="abusers that send one byte per second (default: 100)")
    add("server", nargs="*", help="options of the server, after --")
    return parser.parse_args(arguments)


def _abusers(options: argparse.Namespace) -> tuple[int, int, int, int]:
    return options.idle, options.garbage, options.mute, options.drip


def _reserve_processor() -> set[int]:
    """Leave a processor to the server, if there are two, and return it."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) > 1:
        os.sched_setaffinity(0, available[1:])
    return set(available[:1])


async def _run(options: argparse.Namespace, processors: set[int], *, abused: bool) -> Result:
    times = Times()
    async with run_async_server(*options.server) as server:
        pid = server.process.pid
        os.sched_setaffinity(pid, processors)
        members = [await _join(server.address, f"member{number}", times) for number in range(options.members)]
        observer, *speakers = members
        sending = asyncio.create_task(_send_at_rate(speakers, options.messages, times))
        async with _run_abusers(options, server.address, abused=abused) as abuser_counts:
            print(f"{'abused' if abused else 'alone'}: {options.seconds:g} s", file=sys.stderr)
            before, times.since = _usage(pid), monotonic_ns()
            await asyncio.wait([sending], timeout=options.seconds)
            after, seconds = _usage(pid), (monotonic_ns() - times.since) / _SECOND
            if sending.done():
                sending.result()
            sending.cancel()
            for member in members:  # while the abusers are still connected
                await member.barrier()
        await _shut_down(server, members)
    return Result(
        times=times,
        sent=sum(line.startswith("MSG ") for member in speakers for line in member.sent),
        lost=sum(member.lost for member in members),
        violation=_violation(observer, speakers, presence=not abused),
        usage=Usage(after.cpu_seconds - before.cpu_seconds, after.peak_bytes),
        seconds=seconds,
        abuser_counts=abuser_counts,
        log=server.log,
    )


def _usage(pid: int) -> Usage:
    """Return what a process has used so far."""
    directory = Path(f"/proc/{pid}")
    ticks = (directory / "stat").read_text().rpartition(")")[2].split()[11:13]
    peak = re.search(r"VmHWM:\s+(\d+) kB", (directory / "status").read_text())
    assert peak
    return Usage(sum(map(int, ticks)) / _TICKS, int(peak[1]) * 1024)


async def _join(address: tuple[str, int], name: str, times: Times) -> MeasuringPeer:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        _, member = await loop.create_connection(lambda: MeasuringPeer(times), *address)
    await member.ask(f"JOIN {name}")
    return member


async def _send_at_rate(speakers: Sequence[MeasuringPeer], rate: float, times: Times) -> None:
    """Send messages at fixed times, however long they take to arrive."""
    start = monotonic_ns()
    for number in count():
        due = start + int(number / rate * _SECOND)
        await asyncio.sleep(max(due - monotonic_ns(), 0) / _SECOND)
        times.lateness.append(monotonic_ns() - due)
        speakers[number % len(speakers)].send(f"MSG {number} {due}")


@contextlib.asynccontextmanager
async def _run_abusers(
    options: argparse.Namespace, address: tuple[str, int], *, abused: bool
) -> AsyncIterator[dict[str, float]]:
    """Run the abusers for the length of the block; their counts are complete after it."""
    counts: dict[str, float] = {}
    if not abused:
        yield counts
        return
    numbers = (*address, *_abusers(options), options.pause)
    command = ["nice", "-n", str(_NICENESS), sys.executable, "-m", "tests.soak.abusers", *map(str, numbers)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=_ROOT)
    try:
        assert process.stdin
        assert process.stdout
        print("the abusers are connecting", file=sys.stderr)
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            assert await process.stdout.readline() == b"ready\n", "the abusers failed to connect"
        yield counts
        process.stdin.close()
        async with asyncio.timeout(DEADLINE):
            counts.update(json.loads(await process.stdout.read()))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


async def _shut_down(server: AsyncServerProcess, members: Sequence[MeasuringPeer]) -> None:
    """Terminate the server, and wait until all members have received its BYE."""
    server.process.terminate()
    for member in members:
        await member.rest()
    async with asyncio.timeout(DEADLINE):
        await server.read_log()
        status = await server.process.wait()
    if status:
        server.log.append(f"exit status {status}")


def _violation(observer: MeasuringPeer, speakers: Sequence[MeasuringPeer], *, presence: bool) -> str:
    others = [speaker.recording(f"member{number}") for number, speaker in enumerate(speakers, 1)]
    try:
        check(observer.recording("observer"), others, presence=presence)
    except Violation as violation:
        return str(violation)
    return ""


def _print_report(options: argparse.Namespace, alone: Result, abused: Result) -> None:
    print(f"{options.members} members, {options.messages:g} messages/s; abusers: ", end="")
    print("{} idle, {} garbage, {} mute, {} drip".format(*_abusers(options)))
    print(f"{'':34}{'alone':>12}{'abused':>12}")
    both = (alone, abused)

    def row(title: str, values: Sequence[str]) -> None:
        print(f"{title:34}" + "".join(f"{value:>12}" for value in values))

    for title, share in (("median", 0.5), ("99th percentile", 0.99), ("maximum", 1.0)):
        row(f"latency, ms: {title}", [_milliseconds(each.times.latencies, share) for each in both])
    row("sent too late, ms: 99th percentile", [_milliseconds(each.times.lateness, 0.99) for each in both])
    row("server: CPU usage", [f"{each.usage.cpu_seconds / each.seconds:.0%}" for each in both])
    row("server: peak memory, MiB", [f"{each.usage.peak_bytes / 2**20:.1f}" for each in both])
    row("deliveries measured", [f"{len(each.times.latencies)}" for each in both])
    row("messages sent", [f"{each.sent}" for each in both])
    row("lines lost", [f"{each.lost}" for each in both])
    for title, value in sorted(abused.abuser_counts.items()):
        row(f"abusers: {title}", ["", f"{value:g}" if value < 1e6 else f"{value / 1e6:.1f} M"])
    for each in both:
        for line in (each.violation, *each.log):
            if line:
                print(line)


def _milliseconds(values: "array[int]", share: float) -> str:
    """Return a percentile in milliseconds."""
    ordered = sorted(values)
    return f"{ordered[min(int(share * len(ordered)), len(ordered) - 1)] / 1e6:.2f}" if ordered else "-"


if __name__ == "__main__":
    sys.exit(main())
