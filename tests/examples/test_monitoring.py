"""What Prometheus and Grafana are told to look at exists."""

import json
import re
import shutil
from pathlib import Path
from subprocess import run
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from simple_chat import Settings
from simple_chat.core.counters import Histogram
from simple_chat.core.room import Room
from simple_chat.core.scheduler import BatchCommitter
from simple_chat.journal.memory import MemoryJournal
from simple_chat.server.hub import Hub
from simple_chat.server.metrics import ServerCollector, metrics_page
from tests.harness.programs import DEADLINE

if TYPE_CHECKING:
    from simple_chat.cluster.replicator import Replicator

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "examples" / "monitoring"
NAME = re.compile(r"\b(?:simple_chat|process|python)_[a-z_]+[a-z]\b")
EXPRESSION = re.compile(r"^ +expr: (.+)$", re.MULTILINE)
CHECKS = [
    ("check", "config", "prometheus.yml"),
    ("check", "rules", "alerts.yml"),
    ("test", "rules", "alerts_test.yml"),
]


@pytest.fixture(scope="module")
def exposition() -> str:
    """All metrics that a server can have: with TLS, a journal and a cluster."""
    room, journal = Room(), MemoryJournal()
    hub = Hub(
        Settings(),
        room,
        room,
        BatchCommitter(room, journal, lambda: 0.0),
        authenticator=None,
        release_slot=lambda _connection: None,
    )
    replicator = SimpleNamespace(
        room=SimpleNamespace(waiting_bytes=0, servers=1), commit_seconds=Histogram(()), problem=""
    )
    collector = ServerCollector(
        hub,
        journal=journal,
        replicator=cast("Replicator", replicator),
        max_clients=lambda: 1,
        readiness=lambda: "",
        certificate_end=lambda: 0.0,
    )
    return metrics_page(collector)("").body.decode()


@pytest.fixture(scope="module")
def samples(exposition: str) -> set[str]:
    """The names of all samples."""
    return {re.split(r"[{ ]", line)[0] for line in exposition.splitlines() if not line.startswith("#")}


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return found


def test_alerts_are_about_metrics_that_exist(samples: set[str]) -> None:
    expressions = EXPRESSION.findall((MONITORING / "alerts.yml").read_text())
    assert len(expressions) == 5
    for expression in expressions:
        assert NAME.findall(expression)
        assert {*NAME.findall(expression)} <= samples


def test_dashboard_shows_metrics_that_exist(samples: set[str]) -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    assert len(expressions) > 20
    for expression in expressions:
        assert NAME.findall(expression)
        assert {*NAME.findall(expression)} <= samples


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    cells = [
        (column, row)
        for place in (panel["gridPos"] for panel in panels())
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]
    assert len({*cells}) == len(cells)
    assert max(column for column, _ in cells) < 24
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_readme_of_the_server_names_exactly_its_metrics(exposition: str) -> None:
    section = (ROOT / "simple_chat/server/README.md").read_text().partition("| metric | |\n")[2]
    table, _, _ = section.partition("\n\n")
    named = {
        re.sub(r"\{.*", "", name)
        for row in table.splitlines()[1:]
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }
    families = re.findall(r"^# TYPE simple_chat_(\w+) (\w+)$", exposition, re.MULTILINE)
    assert named == {name for name, _ in families}
    labels = {*re.findall(r"^simple_chat_(\w+)\{(?!le=|version=)", exposition, re.MULTILINE)}
    assert labels == {*re.findall(r"`(\w+)\{", table)}


@pytest.mark.parametrize("arguments", CHECKS)
def test_promtool_accepts_configuration_and_rules(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    ended = run(
        [promtool, *arguments], cwd=MONITORING, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
