"""Metrics: what a scrape finds is what happened."""

import asyncio
import errno
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from simple_chat import Settings
from simple_chat.bench import load
from simple_chat.bench.clients import ClientPool
from simple_chat.bench.dialect import SIMPLE_CHAT
from simple_chat.bench.load import LoadRun, Workload
from simple_chat.core.codes import Code
from simple_chat.core.counters import End
from simple_chat.server import hub
from simple_chat.server.connection import Connection
from simple_chat.server.watchdog import Watchdog
from tests.harness.http import get, scrape
from tests.harness.peer import DEADLINE, Peer
from tests.harness.programs import run_server_process, run_server_to_exit
from tests.harness.server import (
    TRANSPORTS,
    ServerHarness,
    eventually,
    run_server_in_loop,
    server_tls_context,
)

OPENMETRICS = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
WITHOUT_PROMETHEUS = """
import sys
sys.modules["prometheus_client"] = None
from simple_chat.server.__main__ import main
sys.exit(main(["--port", "0", "--metrics", "0"]))
"""


def connections(samples: dict[str, float]) -> dict[str, float]:
    """Return what kinds of connections there are, and how many."""
    return {
        key: value for key, value in samples.items() if key.startswith("simple_chat_connections{") and value
    }


# The exposition


async def test_exposition_under_load_parses_and_agrees_with_the_load_generator_to_the_line() -> None:
    workload = Workload(clients=20, senders=20, window=8)
    async with run_server_in_loop(metrics=0) as harness:
        address = harness.server.metrics_address
        pool = ClientPool(workload.clients, SIMPLE_CHAT)
        with pool.closing():
            await pool.connect(*harness.server.address, lambda _done: None)
            run = LoadRun(workload, pool)
            run.attach(await pool.synchronize(lambda _done: None))
            before = await scrape(address)
            already = run.delivered
            run.pacing.start()
            while run.sent < 2_000:
                await scrape(address)
            run.pacing.stop()
            await load._drain(run)
            run.finish()
            assert (run.faults, run.lost) == ([], 0)
            after = await scrape(address)
    grown = {name: after[name] - before[name] for name in after if name in before}
    everybody = workload.clients + 1  # without the sender, but with the observer and who sends the markers
    assert grown["simple_chat_messages_total"] == grown["simple_chat_room_lines_total"] == run.sent
    assert grown["simple_chat_lines_received_total"] == run.sent
    assert grown["simple_chat_deliveries_total"] == run.sent * everybody
    assert grown["simple_chat_deliveries_total"] == run.delivered - already + run.sent
    assert grown["simple_chat_batch_lines_sum"] == run.sent
    assert grown["simple_chat_fanout_seconds_count"] == grown["simple_chat_batch_lines_count"]
    assert after["simple_chat_members"] == len(pool.all)


async def test_exposition_is_text_or_openmetrics_as_is_asked_for() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        plain = await get(harness.server.metrics_address, "/metrics")
        opened = await get(harness.server.metrics_address, "/metrics", OPENMETRICS)
    assert plain.fields["content-type"].startswith("text/plain; version=")
    assert opened.fields["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = parse_openmetrics(opened.body)  # type: ignore[no-untyped-call]
    ours = [family.name for family in families if family.name.startswith("simple_chat_")]
    assert len(ours) > 20
    assert len({*ours}) == len(ours)
    assert all(family.documentation for family in parse_text(plain.body))


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "text/plain;version=x",
        "application/openmetrics-text;version=x;escaping=y",
        "application/openmetrics-text;version=1.0.0;escaping=\x85",
        "application/openmetrics-text;version=1.0.0.\rX:y",
    ],
)
async def test_exposition_is_there_whatever_is_accepted(accept: str) -> None:
    async with run_server_in_loop(metrics=0) as harness:
        found = await get(harness.server.metrics_address, "/metrics", f"Accept: {accept}")
    assert found.status == 200
    assert "\r" not in found.fields["content-type"]
    assert "simple_chat_ready 1.0\n" in found.body


async def test_exposition_has_figures_of_the_process() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        samples = await scrape(harness.server.metrics_address)
    assert any(name.startswith("python_info{") for name in samples)
    assert any(name.startswith("python_gc_collections_total{") for name in samples)
    if sys.platform == "linux":
        assert samples["process_cpu_seconds_total"] > 0


async def test_no_name_text_or_address_of_anybody_is_exposed() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        ann, _ = await harness.join_all("ann", "benjamin")
        await ann.ask("MSG xyzzy", "FROB")
        body = (await get(harness.server.metrics_address, "/metrics")).body
    assert not [word for word in ("benjamin", "xyzzy", "FROB", "127.0.0.1") if word in body]


async def test_two_servers_of_a_process_count_for_themselves() -> None:
    async with run_server_in_loop(metrics=0) as one, run_server_in_loop(metrics=0) as other:
        await one.join("ann")
        assert (await scrape(one.server.metrics_address))["simple_chat_members"] == 1
        assert (await scrape(other.server.metrics_address))["simple_chat_members"] == 0


# Connections


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_connections_are_told_apart_by_state_and_face(transport: str) -> None:
    face = "plain" if transport == "tcp" else transport
    async with run_server_in_loop(transport=transport, metrics=0) as harness:
        await harness.join_all("ann", "bob")
        await harness.connect()
        samples = await scrape(harness.server.metrics_address)
    assert connections(samples) == {
        f'simple_chat_connections{{face="{face}",state="established"}}': 2,
        f'simple_chat_connections{{face="{face}",state="handshake"}}': 1,
    }
    assert samples["simple_chat_connections_accepted_total"] == 3


async def test_refused_connections_are_told_apart_by_limit() -> None:
    async with run_server_in_loop(Settings(max_clients=1), metrics=0) as harness:
        await harness.join("ann")
        await (await harness.connect()).rest()
        samples = await scrape(harness.server.metrics_address)
    assert samples['simple_chat_connections_refused_total{limit="max-clients"}'] == 1
    assert samples['simple_chat_connections_refused_total{limit="max-per-ip"}'] == 0
    assert samples["simple_chat_max_clients"] == 1
    assert samples['simple_chat_refusals_total{code="too-many-connections"}'] == 1


async def quit_(_harness: ServerHarness, peer: Peer) -> None:
    peer.send("QUIT")
    await peer.wait_closed()


async def close(_harness: ServerHarness, peer: Peer) -> None:
    await peer.close()


async def reset(_harness: ServerHarness, peer: Peer) -> None:
    await peer.reset()


async def send_http(_harness: ServerHarness, peer: Peer) -> None:
    peer.write(b"GET / HTTP/1.1\r\n\r\n")
    await peer.wait_closed()


async def wait(_harness: ServerHarness, peer: Peer) -> None:
    await peer.wait_closed()


async def stop_reading(harness: ServerHarness, peer: Peer) -> None:
    await peer.ask("JOIN slow")
    harness.set_send_buffer("slow", 4096)
    peer.pause()
    ann = await harness.join("ann")
    while len(harness.server.hub.connections) == 2:
        await ann.ask(f"MSG {'x' * 4000}")


async def stop_reading_between_sweeps(harness: ServerHarness, peer: Peer) -> None:
    if sys.platform != "linux":
        pytest.skip("the kernel has no TCP_USER_TIMEOUT")
    await stop_reading(harness, peer)


async def time_out_while_not_read_from(harness: ServerHarness, peer: Peer) -> None:
    await peer.ask("JOIN gone")
    connection = harness.connection(harness.subscriber("gone"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watchdog, "dead_peers", lambda _self: [connection])
        patch.setattr(Connection, "sock", SimpleNamespace(getsockopt=lambda *_: errno.ETIMEDOUT))
        harness.server.hub._watchdog.sweep([], 0.0)


async def break_down(harness: ServerHarness, peer: Peer) -> None:
    await peer.ask("JOIN ann")
    harness.connection(harness.subscriber("ann")).fail()


async def evict(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001 - one of many ways
    harness.server.hub.on_evicted()


WAYS: list[tuple[Callable[[ServerHarness, Peer], Awaitable[None]], str]] = [
    (quit_, End.QUIT),
    (close, End.QUIT),
    (reset, End.LOST),
    (send_http, Code.NOT_CHAT),
    (wait, Code.JOIN_TIMEOUT),
    (stop_reading, End.STALLED),
    (stop_reading_between_sweeps, End.STALLED),
    (time_out_while_not_read_from, End.STALLED),
    (break_down, End.FAILED),
    (evict, End.EVICTED),
]


@pytest.mark.parametrize(("end", "reason"), WAYS)
async def test_ended_connection_counts_once_for_its_reason(
    end: Callable[[ServerHarness, Peer], Awaitable[None]], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 1_000 if end is stop_reading_between_sweeps else 0.02)
    join_timeout = 0.1 if end is wait else 30
    async with run_server_in_loop(Settings(join_timeout=join_timeout, stall_timeout=0.3)) as harness:
        peer = await harness.connect()
        await end(harness, peer)
        await eventually(lambda: bool(harness.server.room.counters.disconnects))
        assert harness.server.room.counters.disconnects == {reason: 1}


async def test_connections_that_the_end_of_the_server_ends_count_as_that() -> None:
    async with run_server_in_loop() as harness:
        counters = harness.server.room.counters
        await harness.join_all("ann", "bob")
        await harness.server.close()
    assert counters.disconnects == {End.SHUTDOWN: 2}
    assert counters.accepted == 2


# The rest


async def test_certificate_is_known_with_its_end_and_so_is_one_that_replaces_it() -> None:
    async with run_server_in_loop(tls=server_tls_context(), metrics=0) as harness:
        name = "simple_chat_certificate_expiry_timestamp_seconds"
        first, again = [(await scrape(harness.server.metrics_address))[name] for _ in range(2)]
        assert first == again
        assert first > datetime.now(UTC).timestamp()
        harness.server.tls = None
        assert name not in await scrape(harness.server.metrics_address)


async def test_lateness_of_the_loop_is_observed_with_each_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 0.01)
    async with run_server_in_loop(metrics=0) as harness:
        lag = harness.server.room.counters.loop_lag_seconds
        await eventually(lambda: lag.count > 3)
        assert (await scrape(harness.server.metrics_address))["simple_chat_loop_lag_seconds_count"] >= 3


async def test_journal_has_its_own_metrics(tmp_path: Path) -> None:
    async with run_server_in_loop(Settings(journal=str(tmp_path / "journal")), metrics=0) as harness:
        ann = await harness.join("ann")
        await ann.ask("MSG 1")
        samples = await scrape(harness.server.metrics_address)
    assert samples["simple_chat_journal_seconds_count"] == 2
    assert (samples["simple_chat_journal_waiting_bytes"], samples["simple_chat_journal_failing"]) == (0, 0)
    assert not [name for name in samples if name.startswith("simple_chat_cluster")]


async def test_without_metrics_no_broadcast_is_timed_and_prometheus_is_not_imported() -> None:
    async with run_server_in_loop() as harness:
        assert harness.server.room.clock is None
    code = "import sys, simple_chat.server.__main__, simple_chat.server.server; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    ended = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    assert "simple_chat.server.hub" in ended.stdout
    assert "prometheus_client" not in ended.stdout


# The program


async def test_program_answers_where_it_is_told_to() -> None:
    with run_server_process("--metrics", "localhost:0") as server:
        assert (await get(server.metrics_address, "/readyz")).body == "ready\n"
        assert (await scrape(server.metrics_address))["simple_chat_ready"] == 1
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("address", ["", "x", "127.0.0.1", ":9100", "::1", "1:2:3", "65536", "host:x"])
def test_program_refuses_what_is_no_address(address: str) -> None:
    ended = run_server_to_exit("--metrics", address)
    assert ended.returncode == 2
    assert f"argument --metrics: {address!r} is neither PORT nor HOST:PORT" in ended.stderr


def test_program_says_what_is_missing() -> None:
    command = [sys.executable, "-c", WITHOUT_PROMETHEUS]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        "simple_chat: --metrics needs prometheus-client: pip install 'simple_chat[metrics]'\n"
    )
