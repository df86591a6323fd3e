"""The options of the server's command line, in groups, and their types."""

import argparse
import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from simple_chat.address import parse_port
from simple_chat.cli import CommaSeparated, Parser, add_address_options, non_empty, number
from simple_chat.cluster.config import parse_nats_urls
from simple_chat.journal.base import Sync
from simple_chat.server.config import Settings

_DEFAULTS = Settings()

_MAX_SECONDS = 1_000_000
"""TCP_USER_TIMEOUT is a 32-bit number of milliseconds, and eleven days are enough."""

_MAX_DAYS = 36_500
_COMMAND = "hash-password"
_ROOM_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def add_options(parser: Parser) -> None:
    """Add all options to the server's parser."""
    parser.add_argument(
        "command",
        nargs="?",
        type=_command,
        metavar=_COMMAND,
        help="ask for a password and print its hash, for --password-file; or ctl: steer a running server,"
        " see ctl --help",
    )
    _add_configuration(parser.add_argument_group("configuration"))
    _add_listeners(parser.add_argument_group("listeners"))
    _add_access(parser.add_argument_group("TLS and authentication"))
    _add_operators(parser.add_argument_group("operators"))
    _add_metrics(parser.add_argument_group("metrics and health"))
    _add_limits(parser.add_argument_group("connection limits"))
    _add_room(parser.add_argument_group("room"))
    _add_journal(parser.add_argument_group("journal"))
    _add_cluster(parser.add_argument_group("cluster: one room on several servers"))
    _add_process(parser.add_argument_group("process"))


def _add_listeners(group: argparse._ArgumentGroup) -> None:
    add_address_options(group, "to listen on", "to listen on more", "--ip")
    group.add_argument(
        "--unix",
        type=non_empty,
        metavar="PATH",
        help="listen on this Unix socket; without --host and --port (and their variables) only there",
    )
    group.add_argument(
        "--reuse-port",
        action="store_true",
        help="share the TCP port with other servers (SO_REUSEPORT): the kernel balances the connections",
    )


def _add_access(group: argparse._ArgumentGroup) -> None:
    def add_file(name: str, text: str) -> None:
        group.add_argument(f"--{name}", type=non_empty, metavar="FILE", help=text)

    add_file("tls-cert", "TLS certificate chain (PEM); SIGHUP reloads it")
    add_file("tls-key", "its private key (PEM), if it is in another file")
    add_file("tls-client-ca", "require client certificates of the CAs in this file (PEM)")
    add_file("password-file", "require the password whose hash is in this file; see hash-password")
    group.add_argument(
        "--insecure", action="store_true", help="allow a password over a network without TLS, in clear text"
    )


def _add_operators(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--admin",
        type=non_empty,
        metavar="PATH",
        help="let operators steer the server by this Unix socket; see ctl",
    )
    group.add_argument(
        "--bans",
        type=non_empty,
        metavar="FILE",
        help="keep the bans in this file (default: the path of --admin with .bans)",
    )


def _add_metrics(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--metrics",
        type=_port,
        metavar="[HOST:]PORT",
        help="answer HTTP here, without HOST on 127.0.0.1: /metrics for Prometheus, /healthz and /readyz",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    _add_number(group, "max-clients", number(1), "COUNT", "connections at a time")
    _add_number(
        group, "max-per-ip", number(1), "COUNT", "connections from one IPv4 address or IPv6 /64, not loopback"
    )
    _add_number(group, "join-timeout", _seconds, "SECONDS", "time from connecting to JOIN, 0 for no limit")
    _add_number(
        group, "stall-timeout", _seconds, "SECONDS", "time without an acknowledged byte, 0 for no limit"
    )
    _add_number(group, "rate", number(0), "LINES", "lines a second of one client, 0 for no limit")
    _add_number(group, "burst", number(1), "LINES", "lines at once before --rate applies")
    _add_number(group, "max-line", number(64, 2**20), "BYTES", "longest line that a client may send")
    _add_number(group, "drain", _seconds, "SECONDS", "time at shutdown for clients to read what is left")


def _add_room(group: argparse._ArgumentGroup) -> None:
    _add_number(group, "backlog", number(0), "BYTES", "memory for slow readers and HISTORY")
    _add_number(group, "history", number(0), "COUNT", "messages that HISTORY can return, 0 for none")
    _add_number(
        group, "presence-limit", number(0), "COUNT", "members above which JOINED and LEFT are not sent"
    )


def _add_number(
    group: argparse._ArgumentGroup, name: str, type_: Callable[[str], float], metavar: str, text: str
) -> None:
    default = getattr(_DEFAULTS, name.replace("-", "_"))
    default_text = "file descriptors less 64" if default is None else f"{default:.10g}"
    text = f"{text} (default: {default_text})"
    group.add_argument(f"--{name}", type=type_, metavar=metavar, default=default, help=text)


def _add_journal(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--journal", type=non_empty, metavar="DIR", help="store messages in this directory, across restarts"
    )
    group.add_argument(
        "--sync",
        type=_sync,
        choices=list(Sync),
        help="what a line survives once it is sent to others: none, the server's crash (os), or the machine's"
        f" (disk) (default: {_DEFAULTS.sync})",
    )
    group.add_argument(
        "--journal-segment",
        type=_size,
        metavar="SIZE",
        help="close a segment file after this many bytes, or K, M, G (default: 64M)",
    )
    group.add_argument(
        "--journal-keep",
        type=_size_or_days,
        metavar="SIZE|DAYS",
        help="delete the oldest segments beyond this size or age, such as 10G or 30d (default: keep all)",
    )


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    servers = group.add_mutually_exclusive_group()
    servers.add_argument(
        "--cluster",
        type=CommaSeparated(nats_urls),
        metavar="URL,URL",
        help="share the room through these NATS servers, such as nats://host:4222",
    )
    servers.add_argument(
        "--cluster-file",
        dest="cluster",
        type=_file,
        metavar="FILE",
        help="read their URLs from this file: other users of the machine can see a command line",
    )
    _add_cluster_stream(group)
    _add_cluster_access(group)


def _add_cluster_stream(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--cluster-room",
        type=_room_name,
        metavar="NAME",
        help=f"name of the room there (default: {_DEFAULTS.cluster_room})",
    )
    group.add_argument(
        "--cluster-replicas",
        type=number(1, 3),
        choices=(1, 3),
        help="NATS servers that store the log; 3 tolerate the failure of one"
        f" (default: {_DEFAULTS.cluster_replicas})",
    )


def _add_cluster_access(group: argparse._ArgumentGroup) -> None:
    for name, text in {
        "creds": "NATS credentials",
        "ca": "CAs to trust for NATS (PEM) (default: the system's)",
        "cert": "certificate to show to NATS (PEM)",
        "key": "its private key (PEM), if it is in another file",
    }.items():
        group.add_argument(f"--cluster-{name}", type=non_empty, metavar="FILE", help=text)


def _add_configuration(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--config",
        type=non_empty,
        metavar="FILE",
        help="read options that have neither flag nor variable from this file (TOML); SIGHUP reads it again",
    )
    group.add_argument(
        "--check-config",
        action="store_true",
        help="print all options in force and where they are from, and exit",
    )


def _add_process(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--loop",
        choices=("auto", "uvloop", "asyncio"),
        default="auto",
        help="event loop; auto is uvloop if installed, else asyncio (default: auto)",
    )
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how the log is written (default: text)",
    )
    group.add_argument("-v", "--verbose", action="store_true", help="also log each connection")


# Argument types


def _port(text: str) -> str:
    """Parse PORT or HOST:PORT."""
    try:
        parse_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _seconds(text: str) -> float:
    """Parse seconds: a number from 0 to `_MAX_SECONDS`."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds <= _MAX_SECONDS:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {_MAX_SECONDS}")


def _command(text: str) -> str:
    """Parse the one command there is."""
    if text == _COMMAND:
        return text
    raise argparse.ArgumentError(
        None, f"{text!r} is no command, {_COMMAND} is the only one; --host says where to listen"
    )


def _sync(text: str) -> Sync:
    """Parse a sync policy."""
    try:
        return Sync(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(Sync)}") from None


def nats_urls(text: str) -> tuple[str, ...]:
    """Parse URLs of NATS servers, separated by commas or white space."""
    urls = tuple(re.split(r"\s*,\s*|\s+", text.strip()))
    try:
        parse_nats_urls(urls)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return urls


def _file(text: str) -> Path:
    """Parse a path."""
    return Path(non_empty(text))


def _room_name(text: str) -> str:
    """Parse a room's name, which becomes a part of NATS subjects."""
    if _ROOM_NAME.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not a room name of 1 to 64 characters A-Z a-z 0-9 _ -")


def _size(text: str) -> int:
    """Parse bytes, such as 1000, 64K, 64M or 10G."""
    digits, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    try:
        return number(1)(digits) * _UNITS.get(unit, 1)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1000, 64K, 64M or 10G") from None


def _size_or_days(text: str) -> int | timedelta:
    """Parse bytes, as `_size` does, or days, such as 30d."""
    try:
        return timedelta(days=number(1, _MAX_DAYS)(text[:-1])) if text.endswith("d") else _size(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a size such as 10G nor days such as 30d"
        ) from None
