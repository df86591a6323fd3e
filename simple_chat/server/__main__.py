"""The server's program: ``python -m simple_chat.server``."""

import argparse
import asyncio
import contextlib
import getpass
import logging
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from io import TextIOWrapper

from simple_chat.errors import ChatError, ConfigError
from simple_chat.process import open_standard_descriptors
from simple_chat.server import cli, ctl, logs, signals
from simple_chat.server.admin_execution import Controls
from simple_chat.server.loading import Reloader, load
from simple_chat.server.log_writer import LogWriter
from simple_chat.server.serve import serve
from simple_chat.server.systemd import Notifier, take_sockets

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
        words = sys.argv[1:] if arguments is None else arguments
        if words[:1] == ["ctl"]:
            return ctl.main(words[1:])
        options = cli.parse(arguments)
        if options.command == "hash-password":
            return _print_password_hash()
        if options.check_config:
            return _check_config(options)
        with contextlib.closing(LogWriter(_STDERR)) as log:
            status = _run_to_exit_status(arguments, options, log)
            signals.ignore_stop()  # the last lines of the log are still written
            return status
    except KeyboardInterrupt:  # before there was a handler for SIGINT
        return 128 + signal.SIGINT


def _run_to_exit_status(arguments: Sequence[str] | None, options: argparse.Namespace, log: LogWriter) -> int:
    """Run the server. What ends it is written by the log's writer: stderr itself may block."""
    rate_limit = logs.configure(log, _STDERR, options.log_format, verbose=options.verbose)
    _raise_descriptor_limit()
    try:
        with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner:
            runner.run(_run(arguments, options, rate_limit))
    except asyncio.CancelledError:  # stopped before it listened
        return 0
    except (ChatError, ImportError) as error:
        log.write(f"simple_chat: {error}")
        return 1
    except Exception:
        logger.exception("the server failed")
        return 1
    return 0


async def _run(
    arguments: Sequence[str] | None, options: argparse.Namespace, rate_limit: logs.RateLimitFilter
) -> None:
    main_task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment] # there is one
    signals.on_stop(main_task.cancel)
    stop_requested = asyncio.Event()
    notifier, loaded = Notifier(), load(options)
    serving = serve(
        options.hosts,
        options.port,
        unix=options.unix,
        tls=loaded.tls,
        password=loaded.password,
        admin=options.admin,
        metrics=options.metrics,
        sockets=take_sockets(),
        settings=loaded.settings,
    )
    async with _reporting_suppressed(rate_limit), serving as server:
        signals.on_stop(stop_requested.set)
        reloader = Reloader(server, arguments, options)
        server.controls = Controls(stop_requested.set, notifier.announcing(reloader.reload), logs.set_verbose)
        signals.on_reload(notifier.announcing(reloader.on_signal))
        notifier.ready(server)
        await stop_requested.wait()
        logger.info("shutting down")
        notifier.stopping()
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


def _check_config(options: argparse.Namespace) -> int:
    """Print what is in force, unless a server would refuse to start with it; return the exit status."""
    from simple_chat.server.check import check, describe  # noqa: PLC0415 - seldom needed

    try:
        check(options)
        _loop_factory(options.loop)
    except (ChatError, ImportError) as error:
        print(f"simple_chat: {error}", file=sys.stderr)
        return 1
    if isinstance(sys.stdout, TextIOWrapper):  # a path may have what the terminal's encoding has not
        sys.stdout.reconfigure(errors="backslashreplace")
    print(describe(options), end="")
    return 0


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
