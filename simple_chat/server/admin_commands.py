"""The commands of the admin socket, parsed.

Pure. A line is a verb, in any case, and its arguments.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from simple_chat.core.text import is_name, name_problem
from simple_chat.errors import AdminError

USAGE = (
    "STATUS                                     the server in figures",
    "LIST [PATTERN]                             connections; PATTERN is for names and addresses, as a*",
    "KICK NAME [REASON]                         disconnect a member",
    "BAN NAME|ADDRESS|NETWORK [for 2h] [REASON] keep a name or a network out; units are s, m, h, d, w",
    "UNBAN NAME|ADDRESS|NETWORK                 lift a ban",
    "BANS                                       list the bans",
    "SAY TEXT                                   send INFO to all members of this server",
    "DRAIN                                      shut down, as SIGTERM does",
    "RELOAD                                     read configuration, certificate, password and bans again",
    "LOG debug|info                             log connections too, or not",
    "HELP                                       list the commands",
    "QUIT                                       end this connection",
)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_MAX_DURATION = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Status:
    """Ask for figures."""


@dataclass(frozen=True, slots=True)
class ListConnections:
    """Ask for the connections whose name or address a pattern matches."""

    pattern: str = "*"


@dataclass(frozen=True, slots=True)
class KickMember:
    """Disconnect a member."""

    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BanTarget:
    """Keep a name or a network out: for some time, or for ever."""

    target: str
    duration: timedelta | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UnbanTarget:
    """Lift a ban."""

    target: str


@dataclass(frozen=True, slots=True)
class ListBans:
    """Ask for the bans."""


@dataclass(frozen=True, slots=True)
class Say:
    """Tell all members something."""

    text: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Shut down in order."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Read all files again."""


@dataclass(frozen=True, slots=True)
class SetLogLevel:
    """Log connections too, or not."""

    verbose: bool


@dataclass(frozen=True, slots=True)
class Help:
    """Ask for the commands."""


@dataclass(frozen=True, slots=True)
class Quit:
    """End the connection."""


AdminCommand = (
    Status
    | ListConnections
    | KickMember
    | BanTarget
    | UnbanTarget
    | ListBans
    | Say
    | Drain
    | Reload
    | SetLogLevel
    | Help
    | Quit
)


def parse_admin_command(line: str) -> AdminCommand:
    """Parse a line that is not empty.

    Raises:
        AdminError: unknown-command or bad-syntax.
    """
    verb, _, argument = line.strip().partition(" ")
    parse = _PARSERS.get(verb.upper())
    if parse is None:
        raise AdminError("unknown-command", f"there is no command {verb!r}: HELP lists all")
    return parse(argument.strip())


def _without_argument(command: AdminCommand) -> Callable[[str], AdminCommand]:
    def parse(argument: str) -> AdminCommand:
        if argument:
            raise AdminError("bad-syntax", f"{argument!r} is too much: this command has no argument")
        return command

    return parse


def _parse_list(argument: str) -> ListConnections:
    if " " in argument:
        raise AdminError("bad-syntax", f"{argument!r} is more than one pattern")
    return ListConnections(argument or "*")


def _parse_kick(argument: str) -> KickMember:
    name, _, reason = _required(argument, "the name of a member").partition(" ")
    if not is_name(name):
        raise AdminError("bad-syntax", name_problem(name))
    return KickMember(name, reason.strip())


def _parse_ban(argument: str) -> BanTarget:
    target, _, rest = _required(argument, "a name, an address or a network").partition(" ")
    word, _, after = rest.strip().partition(" ")
    if word.lower() != "for":
        return BanTarget(target, None, rest.strip())
    duration, _, reason = after.strip().partition(" ")
    return BanTarget(target, parse_duration(duration), reason.strip())


def _parse_unban(argument: str) -> UnbanTarget:
    return UnbanTarget(_required(argument, "a name, an address or a network"))


def _parse_say(argument: str) -> Say:
    return Say(_required(argument, "a text"))


def _parse_log(argument: str) -> SetLogLevel:
    if argument.lower() not in {"debug", "info"}:
        raise AdminError("bad-syntax", f"{argument!r} is neither debug nor info")
    return SetLogLevel(verbose=argument.lower() == "debug")


def _required(argument: str, what: str) -> str:
    if not argument:
        raise AdminError("bad-syntax", f"{what} is missing")
    return argument


def parse_duration(text: str) -> timedelta:
    """Parse a time such as 30s, 10m, 2h, 7d or 4w.

    Raises:
        AdminError: bad-syntax.
    """
    match = _DURATION.fullmatch(text)
    duration = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < duration <= _MAX_DURATION:
        raise AdminError(
            "bad-syntax", f"{text!r} is not a time such as 30s, 10m, 2h, 7d or 4w, up to 100 years"
        )
    return duration


_PARSERS: dict[str, Callable[[str], AdminCommand]] = {
    "STATUS": _without_argument(Status()),
    "LIST": _parse_list,
    "KICK": _parse_kick,
    "BAN": _parse_ban,
    "UNBAN": _parse_unban,
    "BANS": _without_argument(ListBans()),
    "SAY": _parse_say,
    "DRAIN": _without_argument(Drain()),
    "RELOAD": _without_argument(Reload()),
    "LOG": _parse_log,
    "HELP": _without_argument(Help()),
    "QUIT": _without_argument(Quit()),
}
