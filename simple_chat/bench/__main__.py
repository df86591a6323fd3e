"""The load tool's command line: ``python -m simple_chat.bench``.

It imports little: what the run needs is loaded once it is known that there will be one.
"""

import argparse
import asyncio
import importlib.util
import math
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT
from simple_chat.bench.errors import LoadError
from simple_chat.bench.message import SHORTEST
from simple_chat.cli import Parser, number

if TYPE_CHECKING:
    from simple_chat.bench.result import Result
    from simple_chat.bench.server_process import Target

_PICTURES = (".png", ".svg")
_INTERRUPTED = 130
_WINDOW = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Put a server under load.

    Returns:
        The exit status: 0 if every delivery was right, 1 if not or without a result, 2 if something that it
        needs is not installed.
    """
    options = _parse(arguments)
    if missing := _missing(options):
        _complain(f"{missing} is not installed: it comes with simple_chat's extra 'bench'")
        return 2
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            result = runner.run(_run(options))
        _show(result, options)
    except (LoadError, OSError) as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0 if result.right else 1


async def _run(options: Namespace) -> "Result":
    from simple_chat.bench.load import Plan, run  # noqa: PLC0415 - see above
    from simple_chat.bench.progress import progress_bar  # noqa: PLC0415

    names = ("clients", "senders", "window", "rate", "size", "seconds")
    plan = Plan(**{name: getattr(options, name) for name in names})
    async with _target(options) as target:
        with progress_bar() as progress:
            return await run(plan, target, progress)


@asynccontextmanager
async def _target(options: Namespace) -> AsyncIterator["Target"]:
    from simple_chat.bench.server_process import Target, own_server  # noqa: PLC0415 - see above

    if _names_server(options):
        yield Target(options.host or DEFAULT_HOST, options.port or DEFAULT_PORT, options.pid)
    else:
        async with own_server(options.clients) as target:
            yield target


def _show(result: "Result", options: Namespace) -> None:
    from simple_chat.bench import report  # noqa: PLC0415 - see above

    if options.json:
        print(report.as_json(result))
    else:
        report.print_table(result)
    if options.plot:
        report.plot(result, options.plot)
    if result.warning:
        _complain(result.warning)
    if not result.right:
        first = next(iter(result.first_faults), "they did not come")
        _complain(f"deliveries lost: {result.lost:,}, faults: {result.faults:,}, the first: {first}")


def _complain(what: str) -> None:
    print(f"simple_chat.bench: {what}", file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.senders > options.clients:
        parser.error(f"--senders {options.senders} is more than --clients {options.clients}")
    if options.pid is not None and not _names_server(options):
        parser.error("--pid is of a running server: say where it is with --host or --port")
    options.window = options.window or _WINDOW  # argparse can't tell a default from the same value given
    return options


def _names_server(options: Namespace) -> bool:
    return options.host is not None or options.port is not None


def _parser() -> Parser:
    parser = Parser(
        "python -m simple_chat.bench",
        "Put a chat server under load, measure it, and check every delivery byte for byte.",
    )
    _add_load(parser.add_argument_group("the load"))
    where = parser.add_argument_group("the server; without these, one is started and ended")
    where.add_argument("--host", help=f"name or address of a running one (default: {DEFAULT_HOST})")
    where.add_argument("--port", type=number(1, 65535), help=f"its TCP port (default: {DEFAULT_PORT})")
    where.add_argument("--pid", type=number(1), help="its process here, to measure what it costs")
    output = parser.add_argument_group("the result")
    output.add_argument("--json", action="store_true", help="write one JSON object and no table")
    output.add_argument(
        "--plot", type=_picture, metavar="PATH", help="draw the latencies into this .png or .svg"
    )
    return parser


def _add_load(group: argparse._ArgumentGroup) -> None:
    def add(name: str, kind: Callable[[str], float], metavar: str, default: float, text: str) -> None:
        text = f"{text} (default: {default})"
        group.add_argument(f"--{name}", type=kind, metavar=metavar, default=default, help=text)

    add("clients", number(1), "COUNT", 100, "clients in the room")
    add("senders", number(1), "COUNT", 1, "clients that say something")
    pace = group.add_mutually_exclusive_group()
    pace.add_argument(
        "--window", type=number(1), metavar="COUNT", help=f"messages on their way (default: {_WINDOW})"
    )
    pace.add_argument(
        "--rate", type=number(1), metavar="COUNT", help="messages a second, whatever comes back"
    )
    add("size", number(SHORTEST, 2**16), "BYTES", 64, f"a message's text, at least {SHORTEST}")
    add("seconds", _seconds, "SECONDS", 5, "time to measure, after a second to warm up")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 < seconds < math.inf:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in _PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end with .png or .svg")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{str(path.parent)!r} is no folder")
    return path


def _missing(options: Namespace) -> str | None:
    """Name a package that this run would need and that is not there, before the time is spent."""
    measures_cost = options.pid is not None or not _names_server(options)
    shows_bar_or_table = sys.stderr.isatty() or not options.json
    needed = {"psutil": measures_cost, "rich": shows_bar_or_table, "matplotlib": options.plot}
    return next((name for name, is_needed in needed.items() if is_needed and not _is_there(name)), None)


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
