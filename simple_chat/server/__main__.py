"""The server as a program: ``python -m simple_chat.server``."""

import argparse
import asyncio
import contextlib
import getpass
import logging
import resource
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence

from simple_chat.errors import ChatError, ConfigError
from simple_chat.server import cli as command_line
from simple_chat.server.logs import MINUTE, RateLimitFilter, SanitizingFormatter
from simple_chat.server.server import Server, serve
from simple_chat.tls import server_context

logger = logging.getLogger("simple_chat.server")  # __name__ is __main__ here

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to end.

    Returns:
        The exit status: 0 when it was told to end, 1 if it could not start.
    """
    options = command_line.parse(arguments)
    try:
        if options.command == "hash-password":
            return _hash_password()
        moderation = _log_to_stderr(verbose=options.verbose)
        _raise_descriptor_limit()
        with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner:
            runner.run(_run(options, moderation))
    except asyncio.CancelledError:  # told to end before it listened
        return 0
    except (ChatError, ImportError) as error:
        print(f"simple_chat: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace, moderation: RateLimitFilter) -> None:
    starting: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment] # there is one
    _on_ending_signals(starting.cancel)
    told = asyncio.Event()
    serving = serve(
        options.host,
        options.port,
        unix=options.unix,
        tls=_tls(options),
        password=_password_hash(options),
        settings=command_line.settings(options),
    )
    async with _counting(moderation), serving as server:
        _on_ending_signals(told.set)
        if server.tls is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, server, options)
        await told.wait()
        logger.info("shutting down")
        _on_ending_signals(server.cut)  # told twice, it waits for nobody


def _on_ending_signals(act: Callable[[], object]) -> None:
    for each in _ENDING_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(each, act)


@contextlib.asynccontextmanager
async def _counting(moderation: RateLimitFilter) -> AsyncIterator[None]:
    """Log each minute what the log left out, and at the end."""

    async def count() -> None:
        while True:
            await asyncio.sleep(MINUTE)
            moderation.tell()

    counting = asyncio.create_task(count())
    try:
        yield
    finally:
        counting.cancel()
        moderation.tell()


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    return server_context(options.tls_cert, options.tls_key, options.tls_client_ca)


def _reload(server: Server, options: argparse.Namespace) -> None:
    """Read the certificate again, for those who connect from now on."""
    try:
        server.tls = _tls(options)
    except ConfigError as error:
        logger.error("the certificate stays as it is: %s", error)  # noqa: TRY400 - no traceback says more
    else:
        logger.info("read the certificate again")


def _password_hash(options: argparse.Namespace) -> str | None:
    if options.password_file is None:
        return None
    from simple_chat.server.auth import read_hash  # noqa: PLC0415 - it needs what is not always there

    return read_hash(options.password_file)


def _hash_password() -> int:
    """Ask for a password, and print its hash."""
    from simple_chat.server.auth import hash_password  # noqa: PLC0415 - not installed everywhere

    if sys.stdin is None:
        raise ConfigError("there is nothing to read a password from")
    try:
        secret = _ask_twice() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    except (KeyboardInterrupt, EOFError):
        print(file=sys.stderr)
        return 128 + signal.SIGINT
    except UnicodeDecodeError:
        raise ConfigError("a password is text in the terminal's encoding") from None
    print(hash_password(secret))
    return 0


def _ask_twice() -> str:
    secret = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != secret:
        raise ConfigError("that was not the same password")
    return secret


def _raise_descriptor_limit() -> None:
    """Allow as many files, which is connections, as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems say infinity and don't mean it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Find an event loop by name.

    Raises:
        ImportError: uvloop was asked for and is not installed.
    """
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere, and not always asked for
    except ImportError:
        if name == "auto":
            return asyncio.new_event_loop
        raise
    return uvloop.new_event_loop


def _log_to_stderr(*, verbose: bool) -> RateLimitFilter:
    handler = logging.StreamHandler()
    handler.setFormatter(SanitizingFormatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(moderation := RateLimitFilter(time.monotonic))
    logging.getLogger().addHandler(handler)
    logging.getLogger("simple_chat").setLevel(logging.DEBUG if verbose else logging.INFO)
    return moderation


if __name__ == "__main__":
    sys.exit(main())
