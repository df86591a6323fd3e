"""What a journal says, as a program: ``python -m simple_chat.journal``."""

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
from simple_chat.journal.reader import JournalReader, Start, Summary, as_json, as_text

_POLL = 0.2  # seconds from one look to the next


def main(arguments: Sequence[str] | None = None) -> int:
    """Show or verify a journal.

    Returns:
        The exit status: 0 if all is well, 1 if there is no journal or it is damaged, and 128 and the number
        of the signal after Ctrl-C or when nobody reads what is written.
    """
    options = _parse(arguments)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every output knows every letter
    try:
        return asyncio.run(_run(options))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _let_go_of_stdout()
        return 128 + signal.SIGPIPE
    except (ChatError, OSError) as error:
        _let_go_of_stdout()
        _complain(error)
        return 1


async def _run(options: Namespace) -> int:
    """Do what is wanted, until Ctrl-C at the latest: that waits for the read that is under way.

    Returns:
        The exit status.
    """
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
    await (_verify(options, told) if options.verify else _show(options, told))
    return 128 + signal.SIGINT if told.is_set() else 0


async def _show(options: Namespace, told: asyncio.Event) -> None:
    """Print the records, and if that is wanted those that follow."""
    view = as_json if options.json else as_text
    transcript = JournalReader(options.directory, options.start)
    while not told.is_set():
        async for records in transcript.read():
            print("\n".join(map(view, records)), flush=True)
            if told.is_set():
                return
        if not options.follow:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), _POLL)


async def _verify(options: Namespace, told: asyncio.Event) -> None:
    summary = Summary()
    transcript = JournalReader(options.directory, options.start)
    async for records in transcript.read():
        summary.add(records)
        if told.is_set():
            return
    print(summary.tell(transcript.segments, transcript.torn), flush=True)


def _complain(error: Exception) -> None:
    told = str(error)
    if isinstance(error, OSError):
        told = ": ".join(str(each) for each in (error.filename, error.strerror) if each)
    if sys.stderr is not None:
        print(f"simple_chat.journal: {told}", file=sys.stderr)


def _let_go_of_stdout() -> None:
    """Keep Python from complaining once more when it flushes at its end what can't be written."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(arguments: Sequence[str] | None) -> Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.verify and (options.json or options.follow):
        parser.error("--verify goes neither with --json nor with --follow")
    options.directory = Path(options.directory)
    return options


def _parser() -> Parser:
    parser = Parser("python -m simple_chat.journal", "Show what a server keeps with --journal.")
    parser.add_argument("directory", type=non_empty, metavar="DIR", help="the journal's directory")
    parser.add_argument("--json", action="store_true", help="write one JSON object a record")
    parser.add_argument(
        "--from",
        dest="start",
        type=_start,
        metavar="NUMBER|TIME",
        default=0,
        help="begin with this record, or with the first one at this time or later (2026-11-23T19:48, in UTC"
        " if it does not say otherwise)",
    )
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what is written from now on, until Ctrl-C"
    )
    parser.add_argument(
        "--verify", action="store_true", help="check every record, and print only how many there are"
    )
    return parser


def _start(text: str) -> Start:
    """Be an option's type: a number, or a time."""
    try:
        if text.isascii() and text.isdigit():
            return int(text)
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither a number nor a time like 2026-11-23T19:48") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
