"""Moderation: operators kick members, ban names and networks, and speak to the room.

In a cluster an order goes through the log: every server carries it out on its own connections, and all keep
the same bans. A server by itself keeps them in a file.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from simple_chat.core.bans import Ban, Bans, parse_target
from simple_chat.core.codes import Code
from simple_chat.core.membership import Member
from simple_chat.core.moderation import AddBan, Kick, Order, RemoveBan, apply_order
from simple_chat.core.network import Network, is_shared, network_of
from simple_chat.core.text import sanitize
from simple_chat.errors import AdminError, describe_error
from simple_chat.server.bans_file import read_bans, write_bans
from simple_chat.server.connection import Connection
from simple_chat.server.hub import Hub

logger = logging.getLogger(__name__)

_TIMEOUT = 2.0
"""Seconds until an order has to be carried out: a server of a cluster may be paused, or gone."""


class Log(Protocol):
    """The log of several servers, as moderation sees it."""

    def propose(self, order: Order) -> None:
        """Have an order carried out by all servers; `Moderation.on_order` follows on each."""


class Moderation:
    """What operators can do to those who are connected.

    Args:
        hub: the room and its connections.
        log: of the cluster; None for a server by itself.
        file: where the bans are kept; None to forget them at the end. Not used in a cluster.
    """

    def __init__(self, hub: Hub, log: Log | None, file: Path | None) -> None:
        self._hub = hub
        self._log = log
        self._file = file if log is None else None
        self._saving = asyncio.Lock()

    @property
    def bans(self) -> Bans:
        """The bans in force."""
        return self._hub.room.bans

    def read_file(self) -> list[Ban] | None:
        """Return the bans in the bans file; None without one.

        Raises:
            ConfigError: it can't be used.
        """
        return None if self._file is None else read_bans(self._file)

    def replace(self, bans: Iterable[Ban]) -> None:
        """Replace all bans, and disconnect those who are banned now."""
        self.bans.replace(bans)
        self._hub.for_each(self._disconnect_if_banned)

    # Orders

    async def kick(self, name: str, reason: str = "") -> None:
        """Disconnect a member; it may come back.

        Args:
            name: of the member, in any case.
            reason: for the member; without it, there is a general one.

        Raises:
            AdminError: there is no such member, or its server does not answer.
        """
        member = self._hub.room.membership.find(name)
        if member is None:
            raise AdminError("not-found", f"nobody here is called {name!r}")
        self._submit(Kick(member.name, sanitize(reason)))
        await self._wait_until_gone(member)
        _log("kicked %s: %s", member.name, sanitize(reason) or "no reason given")

    async def ban(self, target: str, until: float | None = None, reason: str = "") -> Ban:
        """Keep a name or a network out; who is there from it or has that name is disconnected.

        Args:
            target: an IPv4 address, an IPv6 address for its /64, a network such as 192.0.2.0/24, or a name.
                The network of a member is banned too, unless it is this machine's: anybody may be there.
            until: seconds since the epoch; None for ever.
            reason: for those who are banned.

        Returns:
            The ban in force.

        Raises:
            AdminError: the target can't be banned, another server does not answer, or it can't be stored.
        """
        name, network = _parse_target(target)
        if network is not None and is_shared(network):
            raise AdminError(
                "refused", f"{target} has this machine's own address: everybody may come from there"
            )
        member = None if name is None else self._hub.room.membership.find(name)
        ban = Ban(name, network, None if until is None else int(until), sanitize(reason))
        self._submit(AddBan(ban))
        await self._wait_until_applied(lambda: self.bans.find(target) is not None)
        _log("banned %s", ban)
        await self._save()
        if member is not None:
            await self._wait_until_gone(member)
        return self.bans.find(target) or ban

    async def unban(self, target: str) -> None:
        """Lift the ban of a name or a network; one of both is lifted by either.

        Raises:
            AdminError: there is no such ban, the other servers can't be reached, or that can't be stored.
        """
        _parse_target(target)
        ban = self.bans.find(target)
        if ban is None:
            raise AdminError("not-found", f"{target!r} is not banned: BANS lists those that are")
        self._submit(RemoveBan(target))
        await self._wait_until_applied(lambda: self.bans.find(target) is None)
        _log("unbanned %s", ban)
        await self._save()

    def say(self, text: str) -> None:
        """Send INFO to the members that are connected to this server."""
        self._hub.notify(sanitize(text))

    def _submit(self, order: Order) -> None:
        if self._log is not None:
            self._log.propose(order)
        else:
            apply_order(order, self.bans)
            self.on_order(order)

    def on_order(self, order: Order) -> None:
        """Carry an order out on the connections of this server; the bans have it already."""
        match order:
            case Kick(name, reason):
                if (connection := self.find(name)) is not None:
                    self._hub.disconnect(connection, Code.KICKED, reason)
            case AddBan(ban):
                self._ban_network_of(ban)
                self._hub.for_each(self._disconnect_if_banned)

    def find(self, name: str) -> Connection | None:
        """Return the connection of the member that has a name, in any case, if it is connected here."""
        member = self._hub.room.membership.find(name)
        having = (each for each in self._hub.connections if each.session.subscriber.member is member)
        return None if member is None else next(having, None)

    def _disconnect_if_banned(self, connection: Connection) -> None:
        member = connection.session.subscriber.member
        ban = self.bans.of_host(connection.host)
        if ban is None and member is not None:
            ban = self.bans.of_name(member.name)
        if ban is not None:
            self._hub.disconnect(connection, Code.BANNED, ban.text)

    def _ban_network_of(self, ban: Ban) -> None:
        """Extend the ban of a name to the network of who has it, if that is connected here."""
        holder = None if ban.name is None or ban.network is not None else self.find(ban.name)
        network = None if holder is None else network_of(holder.host)
        if network is not None:
            self._submit(AddBan(replace(ban, network=network)))

    # The bans file

    async def _save(self) -> None:
        """Replace the bans file, if there is one.

        Raises:
            AdminError: that is not possible.
        """
        if self._file is None:
            return
        async with self._saving:  # in the order of the orders
            try:
                await asyncio.to_thread(write_bans, self._file, list(self.bans))
            except OSError as error:
                problem = f"done, but not stored: can't write {self._file}: {describe_error(error)}"
                raise AdminError("failed", problem) from None

    # Waiting

    async def _wait_until_applied(self, done: Callable[[], bool]) -> None:
        if not await self._wait_until(done):
            raise AdminError(
                "no-answer", "not done yet: the other servers can't be reached; it will be once they can"
            )

    async def _wait_until_gone(self, member: Member) -> None:
        membership = self._hub.room.membership
        gone = await self._wait_until(lambda: membership.find(member.name) is not member)
        if not gone:
            where = f"its server {member.node}" if member.node else "this server"
            raise AdminError(
                "no-answer",
                f"{member.name} is still there: {where} has not removed it within {_TIMEOUT:.0f} s",
            )

    async def _wait_until(self, done: Callable[[], bool]) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TIMEOUT):
                while not done():
                    await self._hub.progress()
        return done()


def _log(message: str, *values: object) -> None:
    logger.info(message, *values, extra={"event": "moderation", "limit": math.inf})


def _parse_target(text: str) -> tuple[str | None, Network | None]:
    try:
        return parse_target(text)
    except ValueError as error:
        raise AdminError("bad-syntax", str(error)) from None
