"""What `tests.harness.forked_program` starts, with asynchronous streams."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from io import FileIO
from subprocess import PIPE
from typing import Self

from tests.harness.forked_program import ForkedProgram


class ForkedProcess:
    """A program, with what `asyncio.subprocess.Process` has of methods and attributes.

    Attributes:
        stdin: to write to.
        stdout: to read from.
        stderr: to read from.
    """

    def __init__(
        self, program: ForkedProgram, stdin: asyncio.StreamWriter, output: "_Output", errors: "_Output"
    ) -> None:
        self._program = program
        self._outputs = (output, errors)
        self.stdin = stdin
        self.stdout, self.stderr = output.reader, errors.reader

    @classmethod
    async def start(cls, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Start a module with pipes.

        Args:
            module: the module to run.
            arguments: of its command line.
            environment: its variables.
        """
        program = ForkedProgram(module, arguments, environment, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        loop = asyncio.get_running_loop()
        output, errors = _Output(), _Output()
        await loop.connect_read_pipe(lambda: output, program.stdout)
        await loop.connect_read_pipe(lambda: errors, program.stderr)
        return cls(program, await _writer(program.stdin), output, errors)

    async def wait(self) -> int:
        """Wait for the end; return the exit status."""
        return await asyncio.to_thread(self._program.wait)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Close stdin, read the outputs to their ends and wait for the end; return the outputs."""
        self.stdin.close()
        output, errors, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        with contextlib.suppress(OSError):  # it did not read all
            await self.stdin.wait_closed()
        for each in self._outputs:  # uvloop leaves them open, and can't be closed itself until they are
            await each.close()
        with self._program:
            return output, errors

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        self._program.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._program.kill()


class _Output(asyncio.StreamReaderProtocol):
    """What comes by one pipe.

    Attributes:
        reader: to read it from.
    """

    _pipe: asyncio.BaseTransport

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self._lost = asyncio.Event()
        super().__init__(self.reader)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._pipe = transport

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lost.set()

    async def close(self) -> None:
        """Close it, and wait until it is closed."""
        self._pipe.close()
        await self._lost.wait()


async def _writer(pipe: FileIO | None) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())  # which can be waited for to be closed
    transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)
