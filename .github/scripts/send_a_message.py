"""Send a message from one client to another through a server: python send_a_message.py.

Runs the programs as a user does, with the Python that runs this script. Exit status 0 means that the message
arrived and that the server and both clients exited with 0.
"""

import asyncio
import re
import sys
from asyncio import StreamReader, create_subprocess_exec
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack

DEADLINE = 60.0  # seconds

TEXT = "hello from the other side"


async def start(stack: AsyncExitStack, program: str, *options: str) -> Process:
    """Start a program of simple_chat, which is killed when the stack is closed."""
    command = (sys.executable, "-m", f"simple_chat.{program}", *options)
    print("$", *command, flush=True)
    process = await create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    stack.callback(kill, process)
    return process


def kill(process: Process) -> None:
    """Kill a program that is still running."""
    if process.returncode is None:
        process.kill()


async def write_line(process: Process, line: str) -> None:
    """Write a line to a program's stdin."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())
    await process.stdin.drain()


async def wait_for(stream: StreamReader | None, pattern: str) -> re.Match[str]:
    """Read lines until one matches, and return the match."""
    assert stream is not None
    async for line in stream:
        text = line.decode().rstrip()
        print(text, flush=True)
        if match := re.search(pattern, text):
            return match
    raise SystemExit(f"the output ended without {pattern!r}")


async def wait_for_exit(name: str, process: Process, *, stdin: bytes = b"") -> None:
    """Wait until a program exits, and fail unless its status is 0."""
    _, stderr = await process.communicate(stdin)
    print(f"{name} exited with status {process.returncode}", flush=True)
    if process.returncode:
        raise SystemExit(f"{name} failed: {stderr.decode()}")


async def main() -> None:
    """Run the server and both clients."""
    async with asyncio.timeout(DEADLINE), AsyncExitStack() as stack:
        server = await start(stack, "server", "--port", "0")
        port = (await wait_for(server.stderr, r"listening on 127\.0\.0\.1:(\d+)"))[1]
        ben = await start(stack, "client", "--port", port, "--username", "ben")
        await write_line(ben, "who")  # is answered when ben has joined
        await wait_for(ben.stderr, "ben")
        ann = await start(stack, "client", "--port", port, "--username", "ann")
        await wait_for_exit("ann", ann, stdin=f"send {TEXT}\nleave\n".encode())
        await wait_for(ben.stdout, f"^ann: {TEXT}$")
        await wait_for_exit("ben", ben, stdin=b"leave\n")
        server.terminate()
        await wait_for_exit("the server", server)


asyncio.run(main())
