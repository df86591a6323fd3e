"""How a client gets into the room and back into it: which server, which refusals to retry, and when."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from simple_chat.client.connection import Address, ClientConnection, check_sendable, open_connection
from simple_chat.client.endpoints import EndpointPool
from simple_chat.client.events import Disconnected
from simple_chat.core.codes import Code
from simple_chat.core.commands import Pass
from simple_chat.core.text import is_name
from simple_chat.errors import ConnectError, ConnectionLostError, JoinRefusedError

_JOIN_TIMEOUT = 30.0  # seconds for PASS and JOIN
_FULL_CODES = {Code.TOO_MANY_CONNECTIONS, Code.BUSY}

# Seconds until the servers have noticed that our old connection, which holds the name, is dead. A node of a
# cluster that is killed keeps its members for a lease.
_NAME_TAKEN_TIMEOUT = 120.0


class Connector:
    """Connects to one of several servers of a room, and joins.

    Args:
        addresses: of the servers.
        username: the name to join under.
        password: the servers'; None to send none.
    """

    def __init__(self, addresses: Sequence[Address], username: str, password: str | None) -> None:
        self._endpoints = EndpointPool(addresses)
        self._username = username
        self._password = password
        self._retry = asyncio.Event()
        self._joined_at = 0.0  # by the event loop's clock

    @property
    def address(self) -> Address:
        """The current server's."""
        return self._endpoints.address

    async def connect(self) -> ClientConnection:
        """Join at the first server that answers.

        Raises:
            ConnectError: none does.
            JoinRefusedError: it refuses.
            InvalidMessageError: the password can't be sent as one line.
        """
        failures: list[ConnectError] = []
        while len(failures) < len(self._endpoints):
            try:
                return await self._join()
            except ConnectError as error:
                failures.append(error)
                self._endpoints.rotate()
        if len(failures) == 1:
            raise failures[0]
        raise ConnectError("; ".join(map(str, failures))) from failures[-1]

    async def reconnect(self, reason: str, report: Callable[[Disconnected], None]) -> ClientConnection:
        """Join again after the connection was lost, however long it takes.

        Args:
            reason: why the connection was lost.
            report: called before each attempt, with why the last one failed.

        Raises:
            JoinRefusedError: a server refuses for good.
        """
        loop = asyncio.get_running_loop()
        lost_at = loop.time()
        reported: set[str] = set()
        self._endpoints.on_disconnect(lost_at - self._joined_at)
        while True:
            delay = self._endpoints.next_delay()
            # Several servers fail again and again for the same reasons: report each once.
            if len(self._endpoints) == 1 or reason not in reported:
                report(Disconnected(reason, delay))
            reported.add(reason)
            await self._pause(delay)
            try:
                return await self._join()
            except ConnectError as error:
                reason = str(error)
            except JoinRefusedError as error:
                if not _is_retryable(error.code, loop.time() - lost_at):
                    raise
                reason = "the name is not free yet" if error.code == Code.NAME_TAKEN else str(error)

    def retry_now(self) -> None:
        """End the pause before the next attempt to reconnect, if there is one."""
        self._retry.set()

    async def _pause(self, seconds: float) -> None:
        self._retry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._retry.wait()

    async def _join(self) -> ClientConnection:
        """Connect to the current server, and join."""
        if not is_name(self._username):
            raise JoinRefusedError(Code.BAD_NAME, Code.BAD_NAME.advice)
        if self._password is not None:
            check_sendable(Pass(self._password), self._password, "password")
        connection = await open_connection(self.address)
        try:
            async with asyncio.timeout(_JOIN_TIMEOUT):
                await connection.join(self._username, self._password)
        except BaseException as error:
            connection.abort()
            if isinstance(error, ConnectionLostError | TimeoutError):
                raise ConnectError(f"can't join at {self.address}: {str(error) or 'no answer'}") from error
            raise
        self._joined_at = asyncio.get_running_loop().time()
        return connection


def _is_retryable(code: str, elapsed: float) -> bool:
    """Return whether a server that refused a reconnecting client may accept it later.

    Args:
        code: of the refusal.
        elapsed: seconds since the connection was lost.
    """
    return code in _FULL_CODES or (code == Code.NAME_TAKEN and elapsed <= _NAME_TAKEN_TIMEOUT)
