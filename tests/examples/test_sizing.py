"""How many servers a room needs is reckoned right, and the same each time."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "cluster" / "sizing.py"

LINES = 500
"""Messages that are simulated: enough for what is looked at here."""


@pytest.fixture(scope="module")
def sizing() -> ModuleType:
    spec = spec_from_file_location("sizing", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["sizing"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def large(sizing: ModuleType, processes: int) -> Any:  # noqa: ANN401 - its type is in a script
    """A million members, to whom 100 lines a second of 100 bytes are said."""
    return sizing.Room(members=1_000_000, rate=100.0, size=100, processes=processes)


def test_egress_of_the_known_example(sizing: ModuleType) -> None:
    room = large(sizing, 100)
    assert (room.egress, room.egress_each) == (10e9, 100e6)
    assert (room.crowd, room.deliveries_each) == (10_000, 1e6)
    assert sizing.stream_reads(room, 99.0, 3) == pytest.approx((3_300, 333_333), rel=1e-3)


def test_share_of_a_core_is_reads_and_writes_and_bytes(sizing: ModuleType) -> None:
    costs = sizing.Costs(batch=1e-3, write=1e-5, byte=1e-9)
    room = sizing.Room(members=2_000, rate=500.0, size=1_000, processes=20)
    for_bytes = 100 * 500_000 * 1e-9
    assert sizing.least_share(room, costs) == pytest.approx(500 / 32 * (1e-3 + 100 * 1e-5) + for_bytes)


def test_messages_on_paper_are_those_simulated(sizing: ModuleType) -> None:
    trip = sizing.Trip(median=0.01, p99=0.010001)
    plan = sizing.Plan(costs=sizing.Costs(1e-9, 1e-9, 1e-12), trip=trip, lines=20_000)
    for rate in (10.0, 300.0, 5_000.0):
        room = sizing.Room(members=10, rate=rate, size=100, processes=5)
        simulated = sizing.simulate(room, plan).messages
        assert sizing.stream_messages(room, trip) == pytest.approx(simulated, rel=0.03)


def test_round_trip_has_the_median_and_percentile_it_is_given(sizing: ModuleType) -> None:
    trip = sizing.Trip(median=0.003, p99=0.009)
    assert trip.draw(0, 0) == pytest.approx(0.003)
    assert trip.draw(2.3263 * 0.5**0.5, 2.3263 * 0.5**0.5) == pytest.approx(0.009, rel=1e-3)


def test_calm_room_is_as_late_as_a_round_trip_and_a_round(sizing: ModuleType) -> None:
    plan = sizing.Plan(trip=sizing.Trip(0.003, 0.003), lines=LINES)
    room = sizing.Room(members=3_000, rate=0.1, size=100, processes=3)
    outcome = sizing.simulate(room, plan)
    took = 1_000 * (plan.costs.write + 100 * plan.costs.byte)
    assert outcome.median == pytest.approx(0.003 + plan.costs.batch + took / 2, rel=0.2)
    assert outcome.worst == pytest.approx(0.003 + plan.costs.batch + took)


def test_more_processes_are_less_busy(sizing: ModuleType) -> None:
    plan = sizing.Plan(lines=LINES)
    rooms = [large(sizing, processes) for processes in (1_000, 4_000, 8_000)]
    outcomes = [sizing.simulate(room, plan) for room in rooms]
    shares = [outcome.utilisation for outcome in outcomes]
    assert shares == sorted(shares, reverse=True)
    assert shares[1] > 1.8 * shares[2]  # where next to nothing waits


def test_overloaded_room_is_unstable(sizing: ModuleType) -> None:
    plan = sizing.Plan(lines=LINES)
    assert sizing.simulate(large(sizing, 100), plan).stable
    assert not sizing.simulate(large(sizing, 5), plan).stable


def test_what_waits_shares_a_write_until_it_fills_a_batch(sizing: ModuleType) -> None:
    plan = sizing.Plan(costs=sizing.Costs(byte=1e-15), lines=LINES)
    took = 10_000 * plan.costs.write
    small, large = (
        sizing.simulate(sizing.Room(1_000_000, 100.0, size, 100), plan) for size in (100, sizing.BATCH_BYTES)
    )
    assert small.worst < 6 * took
    assert large.worst > LINES / 2 * took  # each line is a batch


def test_fewest_processes_are_enough_and_one_less_is_not(sizing: ModuleType) -> None:
    def will_do(processes: int) -> bool:
        outcome = sizing.simulate(sizing.Room(100_000, 10.0, 100, processes), plan)
        return bool(outcome.stable and outcome.p99 < bound)

    plan, bound = sizing.Plan(lines=LINES), 0.2
    fewest = sizing.fewest_processes(sizing.Room(100_000, 10.0, 100, 1), plan, bound)
    assert fewest > 1
    assert [will_do(fewest - 1), will_do(fewest)] == [False, True]


def test_no_number_is_enough_for_a_bound_below_the_round_trip(sizing: ModuleType) -> None:
    room, plan = sizing.Room(100, 100.0, 100, 1), sizing.Plan(lines=LINES)
    assert sizing.fewest_processes(room, plan, 0.001) is None


def test_same_seed_prints_the_same(sizing: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def output(seed: str) -> str:
        arguments = ["--members", "20000", "--per-process", "2000", "--lines", str(LINES), "--seed", seed]
        assert sizing.main(arguments) == 0
        return capsys.readouterr().out

    assert output("1") == output("1") != output("2")


def test_table_has_a_row_a_room(sizing: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert sizing.main(["--table", "--lines", "50"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + len(sizing.USERS) * len(sizing.RATES)
    assert len({row.count("|") for row in rows}) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--members", "0"),
        ("--rate", "-1"),
        ("--write-us", "nan"),
        ("--round-trip", "5", "--round-trip-p99", "4"),
    ],
)
def test_what_cannot_be_is_refused(sizing: ModuleType, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        sizing.main(arguments)
