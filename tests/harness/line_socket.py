"""Blocking sockets of lines: another member, or the server that a client connects to."""

import socket
from typing import Self

from tests.harness.screen import DEADLINE


class LineSocket:
    """A connection that lines are sent to and read from. Every wait has a deadline."""

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
        """Join the room of a server."""
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
            assert found, f"connection closed after {before} and before {line!r}"
            before.append(found.removesuffix("\n"))
        return before


def connect(port: str) -> LineSocket:
    """Connect to a server without the client."""
    return LineSocket(socket.create_connection(("127.0.0.1", int(port)), DEADLINE))


class FakeServer:
    """A server whose part the test plays, connection by connection.

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

    def accept(self) -> LineSocket:
        """Accept a connection, and send nothing yet."""
        return LineSocket(self._listener.accept()[0])

    def accept_join(self, name: str, password: str | None = None) -> LineSocket:
        """Accept a client that joins and requests no history.

        Args:
            name: the client's.
            password: which it has to send; None for no PASS.
        """
        connection = self.accept()
        connection.send("HELLO simple_chat/1 welcome")
        if password is not None:
            connection.wait_for(f"PASS {password}")
            connection.send("OK PASS")
        connection.wait_for(f"JOIN {name}")
        connection.send(f"OK JOIN {name}")
        connection.wait_for("WHO")
        connection.send(f"NAMES {name}", "OK WHO 1")
        return connection

    def refuse(self, line: str, refusal: str) -> None:
        """Accept a client, answer its first line with an error, and close."""
        with self.accept() as connection:
            connection.send("HELLO simple_chat/1 welcome")
            connection.wait_for(line)
            connection.send(refusal)
