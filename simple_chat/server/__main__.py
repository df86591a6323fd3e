"""The server's command line: ``python -m simple_chat.server``."""

import argparse
import asyncio
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import simple_chat
from simple_chat.errors import ListenError
from simple_chat.server.service import DEFAULT_HOST, DEFAULT_PORT, Settings, serve

logger = logging.getLogger("simple_chat.server")  # __name__ is __main__ here

_DEFAULTS = Settings()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong; the usage is as long as the screen."""
        self.exit(2, f"{self.prog}: {message} (--help shows all options)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to end.

    Returns:
        The exit status: 0 after an end in order, 1 if it could not start.
    """
    options = _parse(arguments)
    _log_to_stderr(verbose=options.verbose)
    try:
        with asyncio.Runner(loop_factory=_loop_factory(options.loop)) as runner:
            runner.run(_run(options))
    except (ListenError, ImportError) as error:
        print(f"simple_chat: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    settings = Settings(
        max_line=options.max_line,
        backlog=options.backlog,
        history=options.history,
        presence_limit=options.presence_limit,
        drain=options.drain,
    )
    async with serve(options.host, options.port, unix=options.unix, settings=settings) as server:
        await told.wait()
        logger.info("shutting down")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.cut)  # told twice, it waits for nobody


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m simple_chat.server",
        description="A chat server for one room that nc and telnet can talk to.",
        allow_abbrev=False,
    )
    where = parser.add_argument_group("where it listens")
    where.add_argument(
        "--host",
        "--ip",
        metavar="HOST",
        default=os.environ.get("SIMPLE_CHAT_SERVER_HOST") or DEFAULT_HOST,
        help="name or address (default: SIMPLE_CHAT_SERVER_HOST, else 127.0.0.1)",
    )
    where.add_argument(
        "--port",
        type=_number(0, 65535),
        metavar="PORT",
        default=os.environ.get("SIMPLE_CHAT_SERVER_PORT") or DEFAULT_PORT,
        help="TCP port, 0 for a free one (default: SIMPLE_CHAT_SERVER_PORT, else 8090)",
    )
    where.add_argument("--unix", metavar="PATH", help="listen on this Unix socket as well")
    _add_limits(parser.add_argument_group("limits"))
    parser.add_argument(
        "--loop",
        choices=("auto", "uvloop", "asyncio"),
        default="auto",
        help="event loop; auto takes uvloop where it is installed (default: auto)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log connections too")
    parser.add_argument("--version", action="version", version=f"simple_chat {simple_chat.__version__}")
    return parser.parse_args(arguments)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    def add(name: str, kind: Callable[[str], float], metavar: str, text: str) -> None:
        default = getattr(_DEFAULTS, name.replace("-", "_"))
        text = f"{text} (default: {default})"
        group.add_argument(f"--{name}", type=kind, metavar=metavar, default=default, help=text)

    add("max-line", _number(64, 2**20), "BYTES", "longest line that a client may send")
    add("backlog", _number(0), "BYTES", "memory for what slow readers have yet to get, and for HISTORY")
    add("history", _number(0), "COUNT", "messages that HISTORY reaches back, 0 for none")
    add("presence-limit", _number(0), "COUNT", "with more members, JOINED and LEFT are not sent")
    add("drain", _seconds, "SECONDS", "time that clients have to take the rest when the server ends")


def _number(low: int, high: int | None = None) -> Callable[[str], int]:
    """Make an option's type: a whole number within bounds."""
    bounds = f"at least {low}" if high is None else f"from {low} to {high}"

    def whole_number(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 19:
            number = int(text)
            if low <= number and (high is None or number <= high):
                return number
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")

    return whole_number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 <= seconds < math.inf:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")


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


def _log_to_stderr(*, verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("simple_chat").setLevel(logging.DEBUG if verbose else logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
