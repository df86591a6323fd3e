"""What a server is given by its options and the files that they name: at the start, and again on SIGHUP."""

import argparse
import logging
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from simple_chat.errors import ConfigError
from simple_chat.layers import OptionValue
from simple_chat.server import cli, logs
from simple_chat.server.config import Settings
from simple_chat.server.server import Server
from simple_chat.tls import server_context

logger = logging.getLogger(__name__)

_RESTART = " needs a restart"
_TLS = {"tls_cert", "tls_key", "tls_client_ca"}
_FILES = {*_TLS, "password_file"}
"""Options whose files are read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What `serve` takes, beside addresses.

    Attributes:
        settings: the settings.
        tls: for TCP connections; None for plain text.
        password: argon2 hash of the password; None for none.
    """

    settings: Settings
    tls: ssl.SSLContext | None
    password: str | None


def load(options: argparse.Namespace) -> Loaded:
    """Read the files that the options name.

    Raises:
        ConfigError: one of them can't be used.
    """
    tls = None
    if options.tls_cert is not None:
        tls = server_context(options.tls_cert, options.tls_key, options.tls_client_ca)
    return Loaded(settings=cli.settings_from(options), tls=tls, password=_password_hash(options))


def _password_hash(options: argparse.Namespace) -> str | None:
    if options.password_file is None:
        return None
    from simple_chat.server.auth import read_hash  # noqa: PLC0415 - argon2 is optional

    return read_hash(options.password_file)


class Reloader:
    """Reads the configuration of a running server again.

    Args:
        server: the server.
        arguments: its command line; None for ``sys.argv``.
        options: what was made of it.
    """

    def __init__(self, server: Server, arguments: Sequence[str] | None, options: argparse.Namespace) -> None:
        self._server = server
        self._arguments = arguments
        self._options = options

    @cached_property
    def _running(self) -> dict[str, OptionValue]:
        """What is in force."""
        return {each.dest: each for each in cli.values(self._options)}

    def on_signal(self) -> None:
        """Reload, and log what has come of it."""
        try:
            lines = self.reload()
        except ConfigError as error:
            logger.error("nothing reloaded: %s", error)  # noqa: TRY400 - a traceback adds nothing
            return
        for line in lines:
            level = logging.WARNING if line.endswith(_RESTART) else logging.INFO
            logger.log(level, "reload: %s", line, extra={"kind": f"reload: {line}"})

    def reload(self) -> list[str]:
        """Read everything again, and change what can change while the server runs, in one step.

        Returns:
            Lines for people: what has changed, and what needs a restart to change.

        Raises:
            ConfigError: something is invalid. Nothing has changed then.
        """
        options = cli.parse(self._arguments, raises=True)
        loaded, bans = load(options), self._server.moderation.read_file()
        new = {each.dest: each for each in cli.values(options)}
        fixed = {dest for dest in new if self._differs(new[dest]) and not self._can_change(new, loaded, dest)}
        lines = [*self._describe(new, loaded, fixed)]
        self._apply(loaded, verbose=options.verbose)
        if bans is not None:
            self._server.moderation.replace(bans)
            lines.append(f"bans: read again, {len(bans)} of them")
        self._running = {dest: self._running[dest] if dest in fixed else each for dest, each in new.items()}
        return lines or ["nothing changed"]

    def _differs(self, new: OptionValue) -> bool:
        return new.value != self._running[new.dest].value

    def _can_change(self, new: dict[str, OptionValue], loaded: Loaded, dest: str) -> bool:
        """Whether an option that differs can change without a restart."""
        if dest in _FILES:  # but TLS and the password can't be switched on or off
            switch = "tls_cert" if dest in _TLS else "password_file"
            return None not in {self._running[switch].value, new[switch].value}
        settings = self._server.settings
        return dest == "verbose" or (
            dest in Settings.__slots__ and dest not in settings.needing_restart(loaded.settings)
        )

    def _describe(self, new: dict[str, OptionValue], loaded: Loaded, fixed: set[str]) -> Iterator[str]:
        from simple_chat.server.config_file import to_toml  # noqa: PLC0415 - see cli

        for dest, each in new.items():
            before = self._running[dest]
            if self._differs(each):
                old_text, new_text = (
                    "unset" if value is None else to_toml(value) for value in (before.value, each.value)
                )
                yield f"{each.name}: {old_text} -> {new_text}{_RESTART if dest in fixed else ''}"
            elif dest in _FILES and each.value is not None and dest not in fixed:
                yield f"{each.name}: read again ({each.value})"
            elif dest == "cluster" and loaded.settings.cluster != self._server.settings.cluster:
                yield f"{each.name}: other URLs in {each.value}{_RESTART}"

    def _apply(self, loaded: Loaded, *, verbose: bool) -> None:
        """Change everything that can change."""
        server = self._server
        kept = {
            name: getattr(server.settings, name) for name in server.settings.needing_restart(loaded.settings)
        }
        server.reconfigure(replace(loaded.settings, **kept))
        if server.tls is not None and loaded.tls is not None:
            server.tls = loaded.tls
        if self._running["password_file"].value is not None and loaded.password is not None:
            server.replace_password(loaded.password)
        if verbose != self._running["verbose"].value:
            logs.set_verbose(verbose)
