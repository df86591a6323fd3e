"""The load generator's command line: ``python -m simple_chat.bench``.

Imports little: the rest is loaded when there will be a run.
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

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, parse_address
from simple_chat.bench.errors import LoadError
from simple_chat.bench.message import SIZE_MIN
from simple_chat.cli import Parser, address, number

if TYPE_CHECKING:
    from simple_chat.bench.result import Result
    from simple_chat.bench.server_process import Target

_PLOT_SUFFIXES = (".png", ".svg")
_EXIT_INTERRUPTED = 130
_WINDOW = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Put a server under load.

    Returns:
        The exit status: 0 if every delivery was correct, 1 if not or without a result, 2 if a package is not
        installed, 130 after Ctrl-C.
    """
    options = _parse(arguments)
    if package := _missing_package(options):
        _print_error(f"{package} is not installed: pip install 'simple_chat[bench]'")
        return 2
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            result = runner.run(_run(options))
        _print_result(result, options)
    except (LoadError, OSError) as error:
        _print_error(str(error))
        return 1
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    return 0 if result.correct else 1


async def _run(options: Namespace) -> "Result":
    from simple_chat.bench.load import Workload, run_load  # noqa: PLC0415 - see above
    from simple_chat.bench.progress import progress_bar  # noqa: PLC0415

    names = ("clients", "senders", "window", "rate", "size", "seconds")
    workload = Workload(**{name: getattr(options, name) for name in names})
    async with _target(options) as target:
        with progress_bar() as on_phase:
            return await run_load(workload, target, on_phase)


@asynccontextmanager
async def _target(options: Namespace) -> AsyncIterator["Target"]:
    from simple_chat.bench.server_process import Target, run_server  # noqa: PLC0415 - see above

    if _has_address(options):
        host, port = parse_address(options.host or DEFAULT_HOST, options.port or DEFAULT_PORT)
        yield Target(host, port, options.pid)
    else:
        async with run_server(options.clients) as target:
            yield target


def _print_result(result: "Result", options: Namespace) -> None:
    from simple_chat.bench import report  # noqa: PLC0415 - see above

    if options.json:
        print(report.to_json(result))
    else:
        report.print_table(result)
    if options.plot:
        report.plot(result, options.plot)
    if result.warning:
        _print_error(result.warning)
    if not result.correct:
        counts = f"lost deliveries: {result.lost:,}, faults: {result.faults:,}"
        _print_error(f"{counts}, first fault: {next(iter(result.first_faults), 'none')}")


def _print_error(message: str) -> None:
    print(f"simple_chat.bench: {message}", file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.senders > options.clients:
        parser.error(f"--senders {options.senders} is more than --clients {options.clients}")
    if options.pid is not None and not _has_address(options):
        parser.error("--pid needs the running server's --host or --port")
    options.window = options.window or _WINDOW  # argparse can't tell a default from the same value given
    return options


def _has_address(options: Namespace) -> bool:
    return options.host is not None or options.port is not None


def _parser() -> Parser:
    parser = Parser(
        "simple_chat.bench",
        "Put a chat server under load, measure it, and check every delivery byte for byte.",
    )
    _add_workload(parser.add_argument_group("load"))
    target = parser.add_argument_group("server; without --host and --port, one is started for the run")
    target.add_argument(
        "--host",
        type=address,
        metavar="HOST[:PORT]",
        help=f"a running server's name or address (default: {DEFAULT_HOST})",
    )
    target.add_argument("--port", type=number(1, 65535), help=f"its TCP port (default: {DEFAULT_PORT})")
    target.add_argument(
        "--pid", type=number(1), help="its process on this machine, to measure CPU time and memory"
    )
    output = parser.add_argument_group("result")
    output.add_argument("--json", action="store_true", help="write one JSON object instead of a table")
    output.add_argument(
        "--plot", type=_plot_path, metavar="PATH", help="draw the latencies into this .png or .svg"
    )
    return parser


def _add_workload(group: argparse._ArgumentGroup) -> None:
    def add(name: str, kind: Callable[[str], float], metavar: str, default: float, text: str) -> None:
        text = f"{text} (default: {default})"
        group.add_argument(f"--{name}", type=kind, metavar=metavar, default=default, help=text)

    add("clients", number(1), "COUNT", 100, "clients in the room")
    add("senders", number(1), "COUNT", 1, "clients that send messages, in turn")
    pacing = group.add_mutually_exclusive_group()
    pacing.add_argument(
        "--window", type=number(1), metavar="COUNT", help=f"messages in flight (default: {_WINDOW})"
    )
    pacing.add_argument(
        "--rate", type=number(1), metavar="COUNT", help="messages per second, whatever comes back"
    )
    add("size", number(SIZE_MIN, 2**16), "BYTES", 64, f"length of a message's text, at least {SIZE_MIN}")
    add("seconds", _seconds, "SECONDS", 5, "time to measure, after as long a warm-up, but at most 1 s")


def _seconds(text: str) -> float:
    """Option type: a positive number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if 0 < seconds < math.inf:
        return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")


def _plot_path(text: str) -> Path:
    """Option type: a picture's path in an existing directory."""
    path = Path(text)
    if path.suffix not in _PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end with .png or .svg")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{str(path.parent)!r} is not a directory")
    return path


def _missing_package(options: Namespace) -> str | None:
    """Return a package that this run needs and that is not installed, before the load begins."""
    needed = {
        "psutil": options.pid is not None or not _has_address(options),
        "rich": sys.stderr.isatty() or not options.json,
        "matplotlib": options.plot,
    }
    return next((name for name, is_needed in needed.items() if is_needed and not _is_installed(name)), None)


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
