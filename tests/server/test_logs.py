"""The server's log can be neither forged nor flooded, and tells nothing that is said."""

import logging
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.text import sanitize
from simple_chat.server import logs
from simple_chat.server.log_formats import TextFormatter
from simple_chat.server.logs import MAX_LINES, WINDOW, RateLimitFilter
from tests.harness.programs import DEADLINE, ServerProcess, run_server_process
from tests.harness.texts import CHARACTERS

HOSTILE = "x\r\n2026-01-01 CRITICAL forged\x1b[2J\x07\x00\x85\u2028\u202etxt.exe\u2066\x9b31m\x7f"

TIME = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}[+-][0-9]{2}:[0-9]{2} ")

logger = logging.getLogger("tests.log")


def fail(text: str) -> None:
    """Fail in somebody else's words."""
    raise ValueError(text)


class Clock:
    """Shows what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def nothing_is_logged_as_wrong() -> None:
    """Allow what the directory's fixture of this name forbids: these tests log."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def written(clock: Clock) -> Iterator[Callable[[], list[str]]]:
    """What a server's log shows of what is logged here, since the last look."""
    handler = logging.StreamHandler(stream := StringIO())
    handler.setFormatter(TextFormatter())
    handler.addFilter(RateLimitFilter(clock))
    loggers = logger, logging.getLogger(logs.__name__)

    def look() -> list[str]:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return [TIME.sub("", line) for line in text.split("\n")[:-1]]

    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.DEBUG)
        each.propagate = False
    yield look
    for each in loggers:
        each.removeHandler(handler)
        each.setLevel(logging.NOTSET)
        each.propagate = True


# Forging


def test_whatever_is_logged_is_one_line_without_control_characters(written: Callable[[], list[str]]) -> None:
    logger.info("%s said %s", HOSTILE, HOSTILE)
    logger.info(HOSTILE)
    first, second = written()
    for line in (first, second):
        assert line.startswith("INFO x\u240d\u240a2026-01-01 CRITICAL forged\u241b[2J")
        assert line.isprintable()
        assert sanitize(line) == line


def test_a_traceback_cannot_forge_a_line_either(written: Callable[[], list[str]]) -> None:
    try:
        fail(HOSTILE)
    except ValueError:
        logger.exception("it failed")
    first, *traceback = written()
    assert first == "ERROR it failed"
    assert len(traceback) > 3
    for line in traceback:
        assert line.startswith("  ")
        assert sanitize(line) == line
    assert any("CRITICAL forged\u241b[2J" in line for line in traceback)


def test_exceptions_behind_an_exception_cannot_forge_a_line_either(written: Callable[[], list[str]]) -> None:
    try:
        try:
            fail(HOSTILE)
        except ValueError as error:
            raise ExceptionGroup(HOSTILE, [error, TypeError(HOSTILE)]) from error
    except ExceptionGroup:
        logger.exception(HOSTILE)
    first, *traceback = written()
    assert first.isprintable()
    assert {line[:2] for line in traceback} == {"  "}
    assert [line for line in traceback if sanitize(line) != line] == []


def test_printable_text_is_logged_unchanged(written: Callable[[], list[str]]) -> None:
    logger.warning("Grüße an %s 👩‍👩‍👧", "[::1]:8090")
    assert written() == ["WARNING Grüße an [::1]:8090 👩‍👩‍👧"]


@given(st.text(CHARACTERS, max_size=60), st.text(CHARACTERS, max_size=60))
def test_any_text_is_one_harmless_line(message: str, argument: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, message.replace("%", "%%") + "%s", (argument,), None)
    line = TextFormatter().format(record)
    assert "\n" not in line
    assert TIME.sub("", line).startswith("INFO ")
    assert sanitize(line) == line


@given(st.text(CHARACTERS, max_size=60))
def test_any_exception_makes_harmless_lines_that_are_set_off(text: str) -> None:
    try:
        fail(text)
    except ValueError:
        error = sys.exc_info()
    record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), error)
    first, *lines = TextFormatter().format(record).split("\n")
    assert first.endswith(" ERROR failed")
    assert {line[:2] for line in lines} == {"  "}
    assert [line for line in lines if sanitize(line) != line] == []


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_times_are_in_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        record = logging.LogRecord("x", logging.INFO, "", 0, "x", (), None)
        written_at = TextFormatter().format(record).split(" ")[0]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert datetime.fromisoformat(written_at).timestamp() == pytest.approx(record.created, abs=0.001)
    assert written_at.endswith("+00:00")


# Flooding


def test_lines_of_a_kind_beyond_the_limit_are_counted(written: Callable[[], list[str]], clock: Clock) -> None:
    for number in range(50):
        logger.info("connection %d is sent away", number)
        logger.warning("something else")
    lines = written()
    assert lines[::2] == [f"INFO connection {number} is sent away" for number in range(MAX_LINES)]
    assert lines[1::2] == ["WARNING something else"] * MAX_LINES
    clock.now = WINDOW - 0.001
    logger.info("connection %d is sent away", 50)
    assert written() == []
    clock.now = WINDOW
    logger.info("connection %d is sent away", 51)
    assert written() == [
        "WARNING suppressed 41 more like this: connection %d is sent away",
        "WARNING suppressed 40 more like this: something else",
        "INFO connection 51 is sent away",
    ]


def test_a_kind_may_be_given_with_the_line(written: Callable[[], list[str]], clock: Clock) -> None:
    for number in range(MAX_LINES + 5):
        for kind in ("wrong", "late"):
            logger.info("%d is sent away", number, extra={"kind": f"disconnected: {kind}"})
    assert len(written()) == 2 * MAX_LINES
    clock.now = WINDOW
    logger.info("next minute")
    assert written()[:2] == [
        "WARNING suppressed 5 more like this: disconnected: wrong",
        "WARNING suppressed 5 more like this: disconnected: late",
    ]


def test_as_many_as_are_logged_need_no_count(written: Callable[[], list[str]], clock: Clock) -> None:
    for _ in range(MAX_LINES):
        logger.info("hello")
    written()
    clock.now = WINDOW
    logger.info("next minute")
    assert written() == ["INFO next minute"]


def test_a_minute_begins_with_the_first_line_after_the_last(
    written: Callable[[], list[str]], clock: Clock
) -> None:
    clock.now = 10 * WINDOW
    for _ in range(MAX_LINES + 1):
        logger.info("hello")
    clock.now += WINDOW - 0.001
    logger.info("hello")
    assert len(written()) == MAX_LINES
    clock.now += 0.001
    logger.info("hello")
    assert written() == ["WARNING suppressed 2 more like this: hello", "INFO hello"]


def test_debug_lines_are_never_suppressed(written: Callable[[], list[str]]) -> None:
    for number in range(100):
        logger.debug("%d", number)
    assert len(written()) == 100


def test_suppressed_lines_are_reported_on_request(written: Callable[[], list[str]], clock: Clock) -> None:
    rate_limit = RateLimitFilter(clock)
    record = logging.LogRecord("x", logging.INFO, "", 0, "first %s\nsecond", ("y",), None)
    assert [rate_limit.filter(record) for _ in range(MAX_LINES + 3)] == [True] * MAX_LINES + [False] * 3
    rate_limit.report_suppressed()
    rate_limit.report_suppressed()
    assert written() == ["WARNING suppressed 3 more like this: first %s"]


# The program


def misbehave(server: ServerProcess, data: bytes, times: int) -> None:
    """Connect again and again, send something, and wait for the end."""
    for _ in range(times):
        with socket.create_connection((server.host, int(server.port)), DEADLINE) as sock:
            with suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                while sock.recv(65_536):
                    pass


SECRET = b"hush-hush"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"GET /hush-hush HTTP/1.1\r\nCookie: hush-hush\r\n\r\nhush-hush", "not-chat"),
        (b"hush-hush\nJOIN .hush-hush\n" * 6, "too-many-errors"),
    ],
)
def test_repeated_disconnects_are_rate_limited_in_the_log(data: bytes, kind: str) -> None:
    with run_server_process() as server:
        misbehave(server, data, 200)
        text = server.stop()
    told = re.findall(rf" INFO connection \d+ from 127\.0\.0\.1:\d+ disconnected: {kind} \(.*\)\n", text)
    counts = re.findall(rf" WARNING suppressed (\d+) more like this: disconnected: {kind}\n", text)
    assert len(told) + sum(map(int, counts)) == 200
    assert len(told) <= MAX_LINES * len(counts)  # it may have been running for more than a minute
    assert (
        len(text.splitlines()) <= len(told) + len(counts) + 3
    )  # it listens, how it is set up, and is shutting down
    assert "hush" not in text


@pytest.mark.parametrize("options", [(), ("--verbose",)], ids=["INFO", "DEBUG"])
def test_message_text_is_not_logged(options: tuple[str, ...]) -> None:
    with run_server_process("--max-line", "64", *options) as server:
        for data in (
            b"JOIN hush-hush\nMSG hush-hush\nWHO hush-hush\nPING hush-hush\nhush-hush",
            b"PASS hush-hush\nhush-hush \xff\xfd\x01\x1b[2J\nMSG hush-hush\n",
            b"JOIN hush-hush\nMSG " + SECRET * 20 + b"\nMSG hush-hush\xc3\n",
            b"\x16\x03\x01hush-hush",
            b"\xff\xfahush-hush",
        ):
            misbehave(server, data, 3)
        text = server.stop()
    assert text.count(" connected\n") == (15 if options else 0)
    assert text.count(" joined as hush-hush\n") == 6
    assert "hush" not in text.replace(" joined as hush-hush\n", "")


def test_verbose_logs_every_connection() -> None:
    with run_server_process("--verbose") as server:
        misbehave(server, b"PING\n", 30)
        text = server.stop()
    assert text.count(" connected\n") == text.count(" closed: end of stream\n") == 30


def test_connection_that_was_reset_is_still_named_by_its_address() -> None:
    with run_server_process("--verbose") as server:
        sock = socket.create_connection((server.host, int(server.port)), DEADLINE)
        port = sock.getsockname()[1]
        sock.sendall(b"JOIN ann\n")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        server.log.expect(r"connection \d+ from (\S+) closed: .*\n")
        assert isinstance(server.log.match, re.Match)
        assert server.log.match[1] == f"127.0.0.1:{port}"
