import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.server.log_formats import JournaldFormatter, JsonFormatter, TextFormatter, formatter
from tests.harness.programs import run_server_process
from tests.harness.texts import CHARACTERS

HOSTILE = 'x\r\n{"level": "CRITICAL"}\x1b[2J\x00\x85\u2028\u202e"\\'


def record(message: str, *values: object, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("x", level, "", 0, message, values, None)
    made.created = 1_764_288_000.25
    vars(made).update(fields)
    return made


def failed() -> logging.LogRecord:
    try:
        raise ValueError(HOSTILE)  # noqa: TRY301 - it is to be caught
    except ValueError:
        made = record("it failed", level=logging.ERROR)
        made.exc_info = sys.exc_info()
        return made


def test_text_has_its_time_in_utc() -> None:
    assert TextFormatter().format(record("ann joined")) == "2025-11-28T00:00:00.250+00:00 INFO ann joined"


def test_json_has_the_fields_that_the_record_has() -> None:
    line = JsonFormatter().format(
        record(
            "%s joined", "ann", event="joined", connection=7, member="ann", address="192.0.2.7:5000", kind="x"
        )
    )
    assert json.loads(line) == {
        "time": "2025-11-28T00:00:00.250+00:00",
        "level": "INFO",
        "event": "joined",
        "connection": 7,
        "member": "ann",
        "address": "192.0.2.7:5000",
        "message": "ann joined",
    }
    assert json.loads(JsonFormatter().format(record("x", member=None))).keys() == {"time", "level", "message"}


@given(st.text(CHARACTERS, max_size=60), st.text(CHARACTERS, max_size=60))
def test_any_text_is_one_line_of_json_in_ascii(message: str, member: str) -> None:
    line = JsonFormatter().format(record("%s", message, member=member))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == message


def test_traceback_is_in_the_same_line_of_json() -> None:
    line = JsonFormatter().format(failed())
    assert line.isprintable()
    assert "ValueError" in json.loads(line)["exception"]


def test_journal_of_systemd_gets_a_priority_for_every_line_and_no_time() -> None:
    assert JournaldFormatter().format(record("ann joined")) == "<6>ann joined"
    assert JournaldFormatter().format(record(HOSTILE, level=logging.WARNING)).startswith("<4>x\u240d\u240a")
    lines = JournaldFormatter().format(failed()).split("\n")
    assert lines[0] == "<3>it failed"
    assert len(lines) > 2
    assert {line[:5] for line in lines[1:]} == {"<3>  "}


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file that a log could be written to."""
    with (tmp_path / "log").open("wb") as file:
        yield file.fileno()


def test_formatter_is_that_of_the_journal_only_where_the_journal_reads(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(descriptor)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert type(formatter("text", descriptor)) is JournaldFormatter
    assert type(formatter("json", descriptor)) is JsonFormatter
    assert type(formatter("text", -1)) is TextFormatter
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
    assert type(formatter("text", descriptor)) is TextFormatter
    monkeypatch.delenv("JOURNAL_STREAM")
    assert type(formatter("text", descriptor)) is TextFormatter


def test_program_logs_json() -> None:
    with run_server_process("--log-format", "json", "--rate", "50") as server:
        server.join("ann").close()
        server.pipe(b"GET / HTTP/1.1\r\n\r\n")
        lines = [json.loads(line) for line in server.stop().splitlines()]
    events = {line.get("event"): line for line in lines}
    assert events["joined"]["member"] == "ann"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", events["joined"]["address"])
    assert isinstance(events["joined"]["connection"], int)
    assert "disconnected: not-chat (it speaks HTTP or TLS)" in events["disconnected"]["message"]
    assert events["started"]["message"] == "in force: no TLS, no password, no journal, no cluster, rate 50"
