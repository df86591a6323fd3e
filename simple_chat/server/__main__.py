"""The server's command line: ``python -m simple_chat.server``."""

import argparse
import asyncio
import logging
import math
import signal
import sys
from collections.abc import Callable, Sequence

from simple_chat.command_line import Parser, add_address, number
from simple_chat.errors import ListenError
from simple_chat.server.service import serve
from simple_chat.server.settings import Settings

logger = logging.getLogger("simple_chat.server")  # __name__ is __main__ here

_DEFAULTS = Settings()
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


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
    for each in _ENDING_SIGNALS:
        loop.add_signal_handler(each, told.set)
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
        for each in _ENDING_SIGNALS:
            loop.add_signal_handler(each, server.cut)  # told twice, it waits for nobody


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        "python -m simple_chat.server", "A chat server for one room that nc and telnet can talk to."
    )
    where = parser.add_argument_group("where it listens")
    add_address(where, "to listen on", "--ip")
    where.add_argument("--unix", metavar="PATH", help="listen on this Unix socket as well")
    _add_limits(parser.add_argument_group("limits"))
    parser.add_argument(
        "--loop",
        choices=("auto", "uvloop", "asyncio"),
        default="auto",
        help="event loop; auto takes uvloop where it is installed (default: auto)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log connections too")
    return parser.parse_args(arguments)


def _add_limits(group: argparse._ArgumentGroup) -> None:
    def add(name: str, kind: Callable[[str], float], metavar: str, text: str) -> None:
        default = getattr(_DEFAULTS, name.replace("-", "_"))
        text = f"{text} (default: {default})"
        group.add_argument(f"--{name}", type=kind, metavar=metavar, default=default, help=text)

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
