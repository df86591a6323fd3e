"""The journal tool, ``python -m simple_chat.journal``: prints, follows and verifies a journal."""

import asyncio
import contextlib
import os
import signal
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path

from simple_chat.cli import Parser, non_empty
from simple_chat.errors import ChatError
from simple_chat.journal.reader import JournalReader, StartPoint, Summary, format_json, format_text

_POLL_INTERVAL = 0.2  # seconds from one read to the next with --follow


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or verify a journal.

    Returns:
        The exit status: 0 for success, 1 if there is no journal or it is damaged, 130 after SIGINT, 141 after
        a broken pipe.
    """
    options = _parse(arguments)
    _configure_stdout(as_json=options.json)
    try:
        return asyncio.run(_run(options))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _discard_stdout()
        return 128 + signal.SIGPIPE
    except (ChatError, OSError) as error:
        _discard_stdout()
        _print_error(error)
        return 1


async def _run(options: Namespace) -> int:
    """Print or verify until SIGINT at the latest, which lets the current read finish.

    Returns:
        The exit status.
    """
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    await (_verify(options, interrupted) if options.verify else _print_records(options, interrupted))
    return 128 + signal.SIGINT if interrupted.is_set() else 0


async def _print_records(options: Namespace, interrupted: asyncio.Event) -> None:
    """Print the records, and with --follow those that are appended later."""
    format_record = format_json if options.json else format_text
    reader = JournalReader(options.directory, options.start)
    while not interrupted.is_set():
        async for records in reader.read():
            print("\n".join(map(format_record, records)), flush=True)
            if interrupted.is_set():
                return
        if not options.follow:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(interrupted.wait(), _POLL_INTERVAL)


async def _verify(options: Namespace, interrupted: asyncio.Event) -> None:
    """Check every record, and print a summary."""
    summary = Summary()
    reader = JournalReader(options.directory, options.start)
    async for records in reader.read():
        summary.add(records)
        if interrupted.is_set():
            return
    print(summary.format(reader.segments, reader.torn), flush=True)


def _configure_stdout(*, as_json: bool) -> None:
    """Have every record printable: JSON is UTF-8 (RFC 8259); text has ``?`` for what its encoding lacks."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if as_json else None, errors="replace")


def _print_error(error: Exception) -> None:
    text = str(error)
    if isinstance(error, OSError):
        text = ": ".join(str(each) for each in (error.filename, error.strerror) if each)
    if sys.stderr is not None:
        print(f"simple_chat.journal: {text}", file=sys.stderr)


def _discard_stdout() -> None:
    """Redirect stdout to the null device: else Python's flush at exit fails again, and says so."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(arguments: Sequence[str] | None) -> Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.verify and (options.json or options.follow):
        parser.error("--verify can't be combined with --json or --follow")
    options.directory = Path(options.directory)
    return options


def _parser() -> Parser:
    parser = Parser(
        "simple_chat.journal",
        "Print, follow or verify the journal that a server writes with --journal.",
    )
    parser.add_argument("directory", type=non_empty, metavar="DIR", help="the journal's directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object a record")
    parser.add_argument(
        "--from",
        dest="start",
        type=_parse_start,
        metavar="NUMBER|TIME",
        default=0,
        help="print this record and those after it, or those of this time or later (2026-11-23T19:48; without"
        " an offset it is UTC)",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="print new records as they are appended, until Ctrl-C"
    )
    parser.add_argument("--verify", action="store_true", help="check every record, and print a summary only")
    return parser


def _parse_start(text: str) -> StartPoint:
    """Parse the value of --from: a number or a time."""
    try:
        if text.isascii() and text.isdigit():
            return int(text)
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither a number nor a time like 2026-11-23T19:48") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
