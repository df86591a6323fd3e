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
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from simple_chat.errors import ChatError, ConfigError
from simple_chat.process import open_standard_descriptors
from simple_chat.server import cli, logs, signals
from simple_chat.server.log_writer import LogWriter
from simple_chat.server.server import Server, serve
from simple_chat.tls import server_context

logger = logging.getLogger("simple_chat.server")  # __name__ is __main__ here

_STDERR = 2  # sys.stderr is None if it was closed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT.

    Args:
        arguments: the command line; None for ``sys.argv``.

    Returns:
        The exit status: 0 after SIGTERM or SIGINT, 1 if the server could not start or its journal lost lines,
        130 after a SIGINT before the event loop ran.
    """
    signals.disarm()
    open_standard_descriptors()
    try:
        options = cli.parse(arguments)
        if options.command == "hash-password":
            return _print_password_hash()
        with contextlib.closing(LogWriter(_STDERR)) as log:
            status = _run_to_exit_status(options, log)
            signals.ignore_stop()  # the last lines of the log are still written
            return status
    except KeyboardInterrupt:  # before there was a handler for SIGINT
        return 128 + signal.SIGINT


def _run_to_exit_status(options: argparse.Namespace, log: LogWriter) -> int:
    """Run the server. What ends it is written by the log's writer: stderr itself may block."""
    rate_limit = logs.configure(log, verbose=options.verbose)
    _raise_descriptor_limit()
    try:
        with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner:
            runner.run(_run(options, rate_limit))
    except asyncio.CancelledError:  # stopped before it listened
        return 0
    except (ChatError, ImportError) as error:
        log.write(f"simple_chat: {error}")
        return 1
    except Exception:
        logger.exception("the server failed")
        return 1
    return 0


async def _run(options: argparse.Namespace, rate_limit: logs.RateLimitFilter) -> None:
    main_task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment] # there is one
    signals.on_stop(main_task.cancel)
    stop_requested = asyncio.Event()
    serving = serve(
        options.hosts,
        options.port,
        unix=options.unix,
        tls=_tls_context(options),
        password=_password_hash(options),
        metrics=options.metrics,
        settings=cli.settings_from(options),
    )
    async with _reporting_suppressed(rate_limit), serving as server:
        signals.on_stop(stop_requested.set)
        signals.on_reload(partial(_reload, server, options))
        await stop_requested.wait()
        logger.info("shutting down")
        signals.on_stop(server.abort_all)  # a second signal ends the drain


@contextlib.asynccontextmanager
async def _reporting_suppressed(rate_limit: logs.RateLimitFilter) -> AsyncIterator[None]:
    """Report suppressed log lines after each window, and at the end."""

    async def report() -> None:
        while True:
            await asyncio.sleep(logs.WINDOW)
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


def _reload(server: Server, options: argparse.Namespace) -> None:
    """Reload the certificate and the password, both or neither; they apply to new connections."""
    files = [path for path in (options.tls_cert, options.password_file) if path is not None]
    try:
        tls, password = _tls_context(options), _password_hash(options)
        if password is not None:
            server.replace_password(password)
    except ConfigError as error:
        logger.error("nothing reloaded: %s", error)  # noqa: TRY400 - a traceback adds nothing
    else:
        server.tls = tls
        logger.info("reloaded: %s", ", ".join(files) or "nothing, there is neither certificate nor password")


def _password_hash(options: argparse.Namespace) -> str | None:
    if options.password_file is None:
        return None
    from simple_chat.server.auth import read_hash  # noqa: PLC0415 - argon2 is optional

    return read_hash(options.password_file)


def _print_password_hash() -> int:
    """Read a password from the terminal or stdin, and print its hash; return the exit status."""
    try:
        from simple_chat.server.auth import hash_password  # noqa: PLC0415 - argon2 is optional

        print(hash_password(_read_password()))
    except (KeyboardInterrupt, EOFError):
        print(file=sys.stderr)
        return 128 + signal.SIGINT
    except ConfigError as error:
        print(f"simple_chat: {error}", file=sys.stderr)
        return 1
    return 0


def _read_password() -> str:
    if sys.stdin is None:
        raise ConfigError("stdin is closed: there is no password to read")
    try:
        return _prompt_twice() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError("a password is text, this is not valid in the terminal's encoding") from None


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


if __name__ == "__main__":
    sys.exit(main())
