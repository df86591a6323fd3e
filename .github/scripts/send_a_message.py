"""Start the server, send a message from one client, and see that another gets it: python send_a_message.py.

Everything runs as a user would run it, by the Python that runs this script. The exit status is 0 only if the
message arrived and the server and both clients ended without a failure.
"""

import asyncio
import re
import sys
from asyncio import StreamReader, create_subprocess_exec
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack

DEADLINE = 60.0
"""Seconds that all of it may take: an hour's hang is a failure too."""

TEXT = "hello from the other side"


async def start(stack: AsyncExitStack, program: str, *options: str) -> Process:
    """Start one of our programs, and make sure that it does not outlive this one."""
    command = (sys.executable, "-m", f"simple_chat.{program}", *options)
    print("$", *command, flush=True)
    process = await create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    stack.callback(kill, process)
    return process


def kill(process: Process) -> None:
    """End a program that something went wrong with."""
    if process.returncode is None:
        process.kill()


async def tell(process: Process, line: str) -> None:
    """Type a line."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())
    await process.stdin.drain()


async def see(stream: StreamReader | None, pattern: str) -> re.Match[str]:
    """Read lines until one matches."""
    assert stream is not None
    async for line in stream:
        text = line.decode().rstrip()
        print(text, flush=True)
        if match := re.search(pattern, text):
            return match
    raise SystemExit(f"never seen: {pattern}")


async def end(name: str, process: Process, *, told: bytes = b"") -> None:
    """Let a program end, and insist on its success."""
    _, stderr = await process.communicate(told)
    print(f"{name} ended with {process.returncode}", flush=True)
    if process.returncode:
        raise SystemExit(f"{name} failed: {stderr.decode()}")


async def main() -> None:
    """Have the conversation."""
    async with asyncio.timeout(DEADLINE), AsyncExitStack() as stack:
        server = await start(stack, "server", "--port", "0")
        port = (await see(server.stderr, r"listening on 127\.0\.0\.1:(\d+)"))[1]
        ben = await start(stack, "client", "--port", port, "--username", "ben")
        await tell(ben, "who")  # answered once ben is in the room
        await see(ben.stderr, "ben")
        ann = await start(stack, "client", "--port", port, "--username", "ann")
        await end("ann", ann, told=f"send {TEXT}\nleave\n".encode())
        await see(ben.stdout, f"^ann: {TEXT}$")
        await end("ben", ben, told=b"leave\n")
        server.terminate()
        await end("the server", server)


asyncio.run(main())
