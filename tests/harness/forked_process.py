"""What `tests.harness.forked_program` starts, with asynchronous streams."""

import asyncio
from asyncio.streams import FlowControlMixin
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
        self, program: ForkedProgram, stdin: asyncio.StreamWriter, *outputs: asyncio.StreamReader
    ) -> None:
        self._program = program
        self.stdin = stdin
        self.stdout, self.stderr = outputs

    @classmethod
    async def start(cls, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Start a module with pipes.

        Args:
            module: the module to run.
            arguments: of its command line.
            environment: its variables.
        """
        program = ForkedProgram(module, arguments, environment, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        outputs = [await _reader(pipe) for pipe in (program.stdout, program.stderr)]
        return cls(program, await _writer(program.stdin), *outputs)

    async def wait(self) -> int:
        """Wait for the end; return the exit status."""
        return await asyncio.to_thread(self._program.wait)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Close stdin, read the outputs to their ends and wait for the end; return the outputs."""
        self.stdin.close()
        output, errors, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        with self._program:
            return output, errors

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        self._program.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._program.kill()


async def _reader(pipe: FileIO | None) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
    return reader


async def _writer(pipe: FileIO | None) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(FlowControlMixin, pipe)
    return asyncio.StreamWriter(transport, protocol, None, loop)
