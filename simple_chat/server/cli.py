"""The server's command line."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from simple_chat.cli import Parser
from simple_chat.errors import ConfigError, describe_error
from simple_chat.layers import Given, OptionValue
from simple_chat.server.config import Settings
from simple_chat.server.options import add_options, nats_urls

# Options, and the one without which they have no meaning.
_NEEDS = {
    "tls-key": "tls-cert",
    "tls-client-ca": "tls-cert",
    "sync": "journal",
    "journal-segment": "journal",
    "journal-keep": "journal",
    "cluster-room": "cluster",
    "cluster-replicas": "cluster",
    "cluster-creds": "cluster",
    "cluster-ca": "cluster",
    "cluster-cert": "cluster",
    "cluster-key": "cluster-cert",
}
_EPILOG = (
    "Every option has a variable too, as SIMPLE_CHAT_SERVER_MAX_CLIENTS, and a line in the file of --config, "
    "as max-clients = 100. A flag goes before its variable, that before the file. "
    "Exit status: 0 after SIGTERM or SIGINT; 1 if the server could not start, or its journal lost lines; "
    "2 for an invalid option. The manual is simple_chat/server/README.md."
)


def parse(arguments: Sequence[str] | None, *, raises: bool = False) -> argparse.Namespace:
    """Parse the command line, the variables and the configuration file.

    Args:
        arguments: the command line; None for ``sys.argv``.
        raises: whether to raise an exception if they are invalid, and not to exit with status 2.

    Raises:
        ConfigError: they are invalid, and `raises` is set.
    """
    parser = _parser()
    parser.raises = raises
    options = parser.parse_args(arguments)
    for name, needed in _NEEDS.items():
        if _value(options, name) is not None and _value(options, needed) is None:
            parser.error(f"{_label(options, name)} needs --{needed}")
    if options.cluster is not None and options.journal is not None:
        parser.error(
            f"{_label(options, 'journal')} and {_label(options, 'cluster')} exclude each other: "
            "in a cluster NATS stores the messages"
        )
    return options


def values(options: argparse.Namespace) -> list[OptionValue]:
    """Return the value in force of every option, and where it is from.

    Args:
        options: what `parse` returned.
    """
    return [*_parser().values(options)]


def _value(options: argparse.Namespace, name: str) -> object:
    return getattr(options, name.replace("-", "_"))


def _label(options: argparse.Namespace, name: str) -> str:
    given: Given = options.given[name.replace("-", "_")]
    return given.label


def settings_from(options: argparse.Namespace) -> Settings:
    """Return the settings among the options; those that are not given have their defaults.

    Raises:
        ConfigError: the file of ``--cluster-file`` can't be used.
    """
    given = {name: getattr(options, name, None) for name in Settings.__slots__}
    if isinstance(options.cluster, Path):
        given["cluster"] = _read_nats_urls(options.cluster)
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _parser() -> Parser:
    parser = Parser(
        "simple_chat.server",
        "Chat server: one room, plain text over TCP, for nc, telnet and simple_chat.client.",
        variable_of=_variable_of,
        read_file=_read_file,
    )
    parser.epilog = _EPILOG
    add_options(parser)
    return parser


def _variable_of(name: str) -> str | None:
    return None if name == "check-config" else f"SIMPLE_CHAT_SERVER_{name.replace('-', '_').upper()}"


def _read_file(path: str, names: Collection[str]) -> Mapping[str, Given]:
    from simple_chat.server import config_file  # noqa: PLC0415 - few servers have one, and tomllib takes time

    return config_file.read(path, names)


def _read_nats_urls(path: Path) -> tuple[str, ...]:
    """Return the URLs in a file, as `nats_urls` parses them.

    Raises:
        ConfigError: the file can't be used.
    """
    try:
        return nats_urls(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"can't read {path}: {describe_error(error)}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"can't use {path}: it is not UTF-8") from None
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"can't use {path}: {error}") from None
