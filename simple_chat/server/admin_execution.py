"""What each command of the admin socket does, and is answered."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import singledispatch
from typing import TYPE_CHECKING

from simple_chat.errors import AdminError
from simple_chat.server import status
from simple_chat.server.admin_commands import (
    USAGE,
    AdminCommand,
    BanTarget,
    Drain,
    Help,
    KickMember,
    ListBans,
    ListConnections,
    Quit,
    Reload,
    Say,
    SetLogLevel,
    Status,
    UnbanTarget,
)

if TYPE_CHECKING:
    from simple_chat.server.server import Server


@dataclass(frozen=True, slots=True)
class Controls:
    """What only the program around a server can do.

    Attributes:
        drain: begins the shutdown.
        reload: reads all files again, and returns what has changed, a line each. If one can't be used, it
            changes nothing and raises ConfigError.
        set_verbose: logs connections too, or not.
    """

    drain: Callable[[], object]
    reload: Callable[[], list[str]]
    set_verbose: Callable[[bool], object]


@singledispatch
async def execute(command: AdminCommand, server: "Server") -> Iterable[str]:
    """Execute a command.

    Args:
        command: what to do.
        server: on which.

    Returns:
        The lines of the answer, without their LF.

    Raises:
        AdminError: it can't be carried out.
        ConfigError: a file can't be used.
    """
    raise NotImplementedError(command, server)


@execute.register(Status)
async def _(command: Status, server: "Server") -> Iterable[str]:  # noqa: ARG001
    return [*(f"STATUS {key} {text}" for key, text in status.figures(server)), "OK STATUS"]


@execute.register(ListConnections)
async def _(command: ListConnections, server: "Server") -> Iterable[str]:
    found = list(status.list_connections(server, command.pattern))
    return [*map(_format_connection, found), f"OK LIST {len(found)}"]


def _format_connection(found: status.ConnectionStatus) -> str:
    return "CONNECTION " + " ".join(f"{field.name}={getattr(found, field.name)}" for field in fields(found))


@execute.register(ListBans)
async def _(command: ListBans, server: "Server") -> Iterable[str]:  # noqa: ARG001
    bans = list(server.moderation.bans)
    return [*(f"BAN {ban}" for ban in bans), f"OK BANS {len(bans)}"]


@execute.register(KickMember)
async def _(command: KickMember, server: "Server") -> Iterable[str]:
    await server.moderation.kick(command.name, command.reason)
    return [f"OK KICK {command.name}"]


@execute.register(BanTarget)
async def _(command: BanTarget, server: "Server") -> Iterable[str]:
    until = None if command.duration is None else time.time() + command.duration.total_seconds()
    ban = await server.moderation.ban(command.target, until, command.reason)
    return [f"BAN {ban}", f"OK BAN {command.target}"]


@execute.register(UnbanTarget)
async def _(command: UnbanTarget, server: "Server") -> Iterable[str]:
    await server.moderation.unban(command.target)
    return [f"OK UNBAN {command.target}"]


@execute.register(Say)
async def _(command: Say, server: "Server") -> Iterable[str]:
    server.moderation.say(command.text)
    return ["OK SAY"]


@execute.register(Drain)
async def _(command: Drain, server: "Server") -> Iterable[str]:  # noqa: ARG001
    _controls(server).drain()
    return ["OK DRAIN"]


@execute.register(Reload)
async def _(command: Reload, server: "Server") -> Iterable[str]:  # noqa: ARG001
    return [*(f"INFO {line}" for line in _controls(server).reload()), "OK RELOAD"]


@execute.register(SetLogLevel)
async def _(command: SetLogLevel, server: "Server") -> Iterable[str]:
    _controls(server).set_verbose(command.verbose)
    return ["OK LOG"]


@execute.register(Help)
async def _(command: Help, server: "Server") -> Iterable[str]:  # noqa: ARG001
    return [*(f"INFO {line}" for line in USAGE), "OK HELP"]


@execute.register(Quit)
async def _(command: Quit, server: "Server") -> Iterable[str]:  # noqa: ARG001
    return ["BYE quit"]


def _controls(server: "Server") -> Controls:
    if server.controls is None:
        raise AdminError("unavailable", "this server is a part of another program, which has to do that")
    return server.controls
