"""Connects to the first address of a name that answers: Happy Eyeballs, RFC 8305.

asyncio can do that by itself, uvloop can't: this works in both.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any

from simple_chat.errors import describe_error

_ATTEMPT_DELAY = 0.25  # seconds before the next address is tried too; RFC 8305, section 5

_Address = tuple[Any, ...]  # of a socket
_Candidate = tuple[int, int, int, str, _Address]  # as getaddrinfo returns it


async def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first address of a name that answers.

    The addresses are tried one after the other, IPv6 and IPv4 in turns. The next one's turn comes when one
    has failed, or has not answered in a quarter of a second; those before it go on.

    Raises:
        OSError: the name has no address, or none answers.
    """
    untried = _interleave(await _resolve(host, port))
    pending: dict[asyncio.Task[socket.socket], _Address] = {}
    failures: list[tuple[_Address, OSError]] = []
    try:
        while untried or pending:
            if untried:
                candidate = untried.pop(0)
                pending[asyncio.create_task(_connect(candidate))] = candidate[-1]
            delay = _ATTEMPT_DELAY if untried else None
            done, _ = await asyncio.wait(pending, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    return await task
                except OSError as error:
                    failures.append((pending[task], error))
                finally:
                    del pending[task]
    finally:
        await _abandon(pending)
    raise _combine(failures)


async def _resolve(host: str, port: int) -> Sequence[_Candidate]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _interleave(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Return addresses with their families in turns, and else in their order; RFC 8305, section 4."""
    families: dict[int, list[_Candidate]] = {}
    for each in candidates:
        families.setdefault(each[0], []).append(each)
    return [each for each in chain.from_iterable(zip_longest(*families.values())) if each is not None]


async def _connect(candidate: _Candidate) -> socket.socket:
    family, kind, protocol, _, address = candidate
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the signature is not ours
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _abandon(attempts: Iterable[asyncio.Task[socket.socket]]) -> None:
    """Cancel attempts; close the sockets of those that have succeeded meanwhile."""
    for each in (attempts := list(attempts)):
        each.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, socket.socket):
            outcome.close()


def _combine(failures: Sequence[tuple[_Address, OSError]]) -> OSError:
    """Return the reason of all failures, or of each, with its address."""
    if len({describe_error(error) for _, error in failures}) == 1:
        return failures[0][1]
    return OSError("; ".join(f"{host}: {describe_error(error)}" for (host, *_), error in failures))
