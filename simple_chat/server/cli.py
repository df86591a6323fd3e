"""What the server's command line may say."""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from simple_chat.cli import Parser, add_address, filled, number
from simple_chat.journal.base import Sync
from simple_chat.server.config import Settings

_DEFAULTS = Settings()

_SECONDS_MAX = 1_000_000
"""What the kernel's timeouts can be set to, and nobody wants more than eleven days."""

_CLUSTER = ("cluster_room", "cluster_replicas", "cluster_creds", "cluster_ca")
_ROOM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DAYS_MAX = 36_500
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: what was typed; None for the program's own.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.tls_cert is None and (options.tls_key or options.tls_client_ca):
        parser.error("--tls-key and --tls-client-ca go with --tls-cert")
    if options.journal is None and (options.sync or options.journal_segment or options.journal_keep):
        parser.error("--sync, --journal-segment and --journal-keep go with --journal")
    if options.cluster is None and any(getattr(options, each) for each in _CLUSTER):
        parser.error("--cluster-room, --cluster-replicas, --cluster-creds and --cluster-ca go with --cluster")
    if options.cluster is not None and options.journal is not None:
        parser.error("--journal does not go with --cluster, where NATS keeps what is said")
    return options


def settings(options: argparse.Namespace) -> Settings:
    """What of the options is a setting: all that is named as one, and was given or has a default."""
    given = {name: getattr(options, name) for name in Settings.__slots__}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _parser() -> Parser:
    parser = Parser(
        "python -m simple_chat.server", "A chat server for one room that nc and telnet can talk to."
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("hash-password",),
        help="hash-password asks for a password and prints the hash of it, for --password-file",
    )
    where = parser.add_argument_group("where it listens")
    add_address(where, "to listen on", "--ip")
    where.add_argument("--unix", metavar="PATH", help="listen on this Unix socket as well")
    where.add_argument(
        "--reuse-port",
        action="store_true",
        help="share the TCP port with other servers that do: the kernel spreads connections over them",
    )
    _add_trust(parser.add_argument_group("who may come in"))
    _add_journal(parser.add_argument_group("the journal"))
    _add_cluster(parser.add_argument_group("one room on several servers"))
    _add_limits(parser.add_argument_group("limits"))
    parser.add_argument(
        "--loop",
        choices=("auto", "uvloop", "asyncio"),
        default="auto",
        help="event loop; auto takes uvloop where it is installed (default: auto)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log connections too")
    return parser


def _add_trust(group: argparse._ArgumentGroup) -> None:
    def add_file(name: str, text: str) -> None:
        group.add_argument(f"--{name}", type=filled, metavar="FILE", help=text)

    add_file("tls-cert", "talk TLS, with the certificate in this PEM file; SIGHUP reads it again")
    add_file("tls-key", "its private key, if that is another file")
    add_file("tls-client-ca", "let in only clients with a certificate of the authorities in this PEM file")
    add_file("password-file", "let in only who knows the password whose hash is in this file")
    group.add_argument(
        "--insecure", action="store_true", help="let a password come over the network without TLS"
    )


def _add_journal(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--journal", type=filled, metavar="DIR", help="keep what is said in this directory, and go on with it"
    )
    group.add_argument(
        "--sync",
        type=Sync,
        choices=list(Sync),
        help="what a line survives when others get it: nothing, the server's death, or the machine's"
        f" (default: {_DEFAULTS.sync})",
    )
    group.add_argument(
        "--journal-segment",
        type=_size,
        metavar="SIZE",
        help="bytes, or with K, M or G, after which a file of the journal is closed (default: 64M)",
    )
    group.add_argument(
        "--journal-keep",
        type=_size_or_days,
        metavar="SIZE|DAYS",
        help="delete the oldest files beyond this, as 10G or 30d (default: keep all)",
    )


def _add_cluster(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--cluster",
        type=_urls,
        metavar="URL,URL",
        help="take part in the room whose log these NATS servers keep, as nats://host:4222",
    )
    group.add_argument(
        "--cluster-room",
        type=_room,
        metavar="NAME",
        help=f"which room of theirs (default: {_DEFAULTS.cluster_room})",
    )
    group.add_argument(
        "--cluster-replicas",
        type=int,
        choices=(1, 3),
        help=f"NATS servers that keep the log: with 3, one may die (default: {_DEFAULTS.cluster_replicas})",
    )
    group.add_argument(
        "--cluster-creds", type=filled, metavar="FILE", help="credentials for NATS, if it demands some"
    )
    group.add_argument(
        "--cluster-ca",
        type=filled,
        metavar="FILE",
        help="certificates of authorities to trust NATS by (default: those that the system trusts)",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    def add(name: str, kind: Callable[[str], float], metavar: str, text: str) -> None:
        default = getattr(_DEFAULTS, name.replace("-", "_"))
        shown = "file descriptors less 64" if default is None else f"{default:.10g}"
        text = f"{text} (default: {shown})"
        group.add_argument(f"--{name}", type=kind, metavar=metavar, default=default, help=text)

    add("max-clients", number(1), "COUNT", "connections at a time")
    add("max-per-ip", number(1), "COUNT", "connections from one IPv4 address or IPv6 /64, but this machine's")
    add("join-timeout", _seconds, "SECONDS", "time from connecting to JOIN, 0 for any")
    add("rate", number(0), "LINES", "lines a second of one client; more are read more slowly; 0 for any")
    add("burst", number(1), "LINES", "lines that are taken at once before that")
    add("stall-timeout", _seconds, "SECONDS", "time that a client may take nothing it is sent, 0 for any")
    add("max-line", number(64, 2**20), "BYTES", "longest line that a client may send")
    add("backlog", number(0), "BYTES", "memory for what slow readers have yet to get, and for HISTORY")
    add("history", number(0), "COUNT", "messages that HISTORY reaches back, 0 for none")
    add("presence-limit", number(0), "COUNT", "with more members, JOINED and LEFT are not sent")
    add("drain", _seconds, "SECONDS", "time that clients have to take the rest when the server ends")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds <= _SECONDS_MAX:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to {_SECONDS_MAX}")


def _urls(text: str) -> tuple[str, ...]:
    """Be an option's type: addresses of NATS servers."""
    urls = tuple(text.split(","))
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise argparse.ArgumentTypeError(
                f"{url!r} is not the address of a NATS server, as nats://host:4222"
            )
    return urls


def _room(text: str) -> str:
    """Be an option's type: what a room may be called, which is what NATS allows."""
    if _ROOM.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} can't be a room: 1 to 64 of A-Z a-z 0-9 _ -")


def _size(text: str) -> int:
    """Be an option's type: bytes, as 1000, 64K, 64M or 10G."""
    digits, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    try:
        return number(1)(digits) * _UNITS.get(unit, 1)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 1000, 64K, 64M or 10G") from None


def _size_or_days(text: str) -> int | timedelta:
    """Be an option's type: bytes, or days as 30d."""
    try:
        return timedelta(days=number(1, _DAYS_MAX)(text[:-1])) if text.endswith("d") else _size(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a size like 10G nor days like 30d") from None
