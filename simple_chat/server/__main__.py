"""The server's program: ``python -m simple_chat.server``."""

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
from simple_chat.server import cli
from simple_chat.server.logs import WINDOW, RateLimitFilter, SanitizingFormatter
from simple_chat.server.server import Server, serve
from simple_chat.tls import server_context

logger = logging.getLogger("simple_chat.server")  # __name__ is __main__ here

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT.

    Args:
        arguments: the command line; None for ``sys.argv``.

    Returns:
        The exit status: 0 after SIGTERM or SIGINT, 1 if the server could not start or its journal lost lines.
    """
    options = cli.parse(arguments)
    try:
        if options.command == "hash-password":
            return _print_password_hash()
        rate_limit = _log_to_stderr(verbose=options.verbose)
        _raise_descriptor_limit()
        with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner:
            runner.run(_run(options, rate_limit))
    except asyncio.CancelledError:  # stopped before it listened
        return 0
    except (ChatError, ImportError) as error:
        print(f"simple_chat: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace, rate_limit: RateLimitFilter) -> None:
    main_task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment] # there is one
    _on_stop_signals(main_task.cancel)
    stop_requested = asyncio.Event()
    serving = serve(
        options.host,
        options.port,
        unix=options.unix,
        tls=_tls_context(options),
        password=_password_hash(options),
        settings=cli.settings_from(options),
    )
    async with _reporting_suppressed(rate_limit), serving as server:
        _on_stop_signals(stop_requested.set)
        if server.tls is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload_certificate, server, options)
        await stop_requested.wait()
        logger.info("shutting down")
        _on_stop_signals(server.abort_all)  # a second signal ends the drain


def _on_stop_signals(callback: Callable[[], object]) -> None:
    for each in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(each, callback)


@contextlib.asynccontextmanager
async def _reporting_suppressed(rate_limit: RateLimitFilter) -> AsyncIterator[None]:
    """Report suppressed log lines after each window, and at the end."""

    async def report() -> None:
        while True:
            await asyncio.sleep(WINDOW)
            rate_limit.report_suppressed()

    reporting = asyncio.create_task(report())
    try:
        yield
    finally:
        reporting.cancel()
        rate_limit.report_suppressed()


def _tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    return server_context(options.tls_cert, options.tls_key, options.tls_client_ca)


def _reload_certificate(server: Server, options: argparse.Namespace) -> None:
    """Reload the certificate; it applies to new connections."""
    try:
        server.tls = _tls_context(options)
    except ConfigError as error:
        logger.error("certificate not reloaded: %s", error)  # noqa: TRY400 - a traceback adds nothing
    else:
        logger.info("certificate reloaded")


def _password_hash(options: argparse.Namespace) -> str | None:
    if options.password_file is None:
        return None
    from simple_chat.server.auth import read_hash  # noqa: PLC0415 - argon2 is optional

    return read_hash(options.password_file)


def _print_password_hash() -> int:
    """Read a password from the terminal or stdin, and print its hash."""
    from simple_chat.server.auth import hash_password  # noqa: PLC0415 - argon2 is optional

    if sys.stdin is None:
        raise ConfigError("stdin is closed: there is no password to read")
    try:
        secret = _prompt_twice() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    except (KeyboardInterrupt, EOFError):
        print(file=sys.stderr)
        return 128 + signal.SIGINT
    except UnicodeDecodeError:
        raise ConfigError("a password is text, this is not valid in the terminal's encoding") from None
    print(hash_password(secret))
    return 0


def _prompt_twice() -> str:
    secret = getpass.getpass("Password: ")
    if getpass.getpass("Repeat the password: ") != secret:
        raise ConfigError("the passwords differ")
    return secret


def _raise_descriptor_limit() -> None:
    """Raise the limit of open files, and thereby of connections, as far as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports infinity, and refuses to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the factory of an event loop.

    Args:
        name: auto, uvloop or asyncio; auto is uvloop if it is installed.

    Raises:
        ImportError: uvloop is requested and not installed.
    """
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        if name == "auto":
            return asyncio.new_event_loop
        raise
    return uvloop.new_event_loop


def _log_to_stderr(*, verbose: bool) -> RateLimitFilter:
    """Configure logging to stderr, and return the filter that limits it."""
    handler = logging.StreamHandler()
    handler.setFormatter(SanitizingFormatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(rate_limit := RateLimitFilter(time.monotonic))
    logging.getLogger().addHandler(handler)
    logging.getLogger("simple_chat").setLevel(logging.DEBUG if verbose else logging.INFO)
    return rate_limit


if __name__ == "__main__":
    sys.exit(main())
