"""The other end of the client's wire, in the test's own hands: another member, or the whole server."""

import socket
from typing import Self

from tests.harness.screen import DEADLINE


class Wire:
    """A connection that lines are written to and read from. Every wait has a deadline."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(DEADLINE)
        self._socket = connection
        self._lines = connection.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def join(self, name: str) -> None:
        """Enter the room of a server."""
        self.send(f"JOIN {name}")
        self.wait_for(f"OK JOIN {name}")

    def send(self, *lines: str) -> None:
        self.write("".join(f"{line}\n" for line in lines).encode())

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def wait_for(self, line: str) -> list[str]:
        """Read up to a line, and return the lines before it."""
        before: list[str] = []
        while (found := self._lines.readline().decode()) != f"{line}\n":
            assert found, f"the connection ended after {before} and before {line!r}"
            before.append(found.removesuffix("\n"))
        return before


def connect(port: str) -> Wire:
    """Connect to a server without any client."""
    return Wire(socket.create_connection(("127.0.0.1", int(port)), DEADLINE))


class FakeServer:
    """A server that says what it is told to.

    Attributes:
        port: where it listens.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self.port = str(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def accept(self) -> Wire:
        """Let a client connect, and say nothing yet."""
        return Wire(self._listener.accept()[0])

    def let_in(self, name: str, password: str | None = None) -> Wire:
        """Let a client join that asks for no history and knows the password, if there is one."""
        wire = self.accept()
        wire.send("HELLO simple_chat/1 welcome")
        if password is not None:
            wire.wait_for(f"PASS {password}")
            wire.send("OK PASS")
        wire.wait_for(f"JOIN {name}")
        wire.send(f"OK JOIN {name}")
        wire.wait_for("WHO")
        wire.send(f"NAMES {name}", "OK WHO 1")
        return wire

    def refuse(self, line: str, refusal: str) -> None:
        """Let a client connect, and end it with what its first line is answered."""
        with self.accept() as wire:
            wire.send("HELLO simple_chat/1 welcome")
            wire.wait_for(line)
            wire.send(refusal)
