"""The estimate of how many servers a room needs is right, and the same each time."""

import pytest
import sizing
from sizing_model import BATCH_BYTES, Costs, Room, RoundTrip, stream_messages, stream_reads, utilisation_min
from sizing_simulation import Outcome, Parameters, fewest_servers, simulate

LINES = 500
"""Messages to simulate: enough for these assertions."""


def million(servers: int) -> Room:
    """A million members who receive 100 lines of 100 bytes per second."""
    return Room(members=1_000_000, rate=100.0, size=100, servers=servers)


def test_egress_of_a_known_room() -> None:
    room = million(100)
    assert (room.egress, room.egress_each) == (10e9, 100e6)
    assert (room.members_each, room.deliveries_each) == (10_000, 1e6)
    assert stream_reads(room, 99.0, 3) == pytest.approx((3_300, 333_333), rel=1e-3)


def test_least_utilisation_is_the_sum_of_reads_writes_and_bytes() -> None:
    costs = Costs(batch=1e-3, write=1e-5, byte=1e-9)
    room = Room(members=2_000, rate=500.0, size=1_000, servers=20)
    for_bytes = 100 * 500_000 * 1e-9
    assert utilisation_min(room, costs) == pytest.approx(500 / 32 * (1e-3 + 100 * 1e-5) + for_bytes)


@pytest.mark.parametrize(("rate", "lines"), [(10.0, 2_000), (300.0, 4_000), (5_000.0, 4_000)])
def test_calculated_number_of_messages_is_the_simulated_one(rate: float, lines: int) -> None:
    trip = RoundTrip(median=0.01, p99=0.010001)
    parameters = Parameters(costs=Costs(1e-9, 1e-9, 1e-12), trip=trip, lines=lines)
    room = Room(members=10, rate=rate, size=100, servers=5)
    assert stream_messages(room, trip) == pytest.approx(simulate(room, parameters).messages, rel=0.03)


def test_round_trip_has_the_given_median_and_percentile() -> None:
    trip = RoundTrip(median=0.003, p99=0.009)
    assert trip.draw(0, 0) == pytest.approx(0.003)
    assert trip.draw(2.3263 * 0.5**0.5, 2.3263 * 0.5**0.5) == pytest.approx(0.009, rel=1e-3)


def test_delay_of_an_idle_room_is_a_round_trip_and_a_round() -> None:
    parameters = Parameters(trip=RoundTrip(0.003, 0.003), lines=LINES)
    costs = parameters.costs
    outcome = simulate(Room(members=3_000, rate=0.1, size=100, servers=3), parameters)
    writes = 1_000 * (costs.write + 100 * costs.byte)
    assert outcome.median == pytest.approx(0.003 + costs.batch + writes / 2, rel=0.2)
    assert outcome.worst == pytest.approx(0.003 + costs.batch + writes)


def test_more_servers_are_less_busy() -> None:
    rooms = [million(servers) for servers in (1_000, 4_000, 8_000)]
    shares = [simulate(room, Parameters(lines=LINES)).utilisation for room in rooms]
    assert shares == sorted(shares, reverse=True)
    assert shares[1] > 1.8 * shares[2]  # where hardly anything waits


def test_overloaded_room_is_unstable() -> None:
    parameters = Parameters(lines=LINES)
    assert simulate(million(100), parameters).stable
    assert not simulate(million(5), parameters).stable


def test_waiting_lines_share_a_write_until_they_fill_a_batch() -> None:
    def outcome(size: int) -> Outcome:
        return simulate(Room(1_000_000, 100.0, size, 100), parameters)

    parameters = Parameters(costs=Costs(byte=1e-15), lines=LINES)
    round_time = 10_000 * parameters.costs.write
    assert outcome(100).worst < 6 * round_time
    assert outcome(BATCH_BYTES).worst > LINES / 2 * round_time  # each line is a batch


def test_fewest_servers_suffice_and_one_less_does_not() -> None:
    def suffices(servers: int) -> bool:
        outcome = simulate(Room(100_000, 10.0, 100, servers), parameters)
        return outcome.stable and outcome.p99 < bound

    parameters, bound = Parameters(lines=LINES), 0.2
    fewest = fewest_servers(Room(100_000, 10.0, 100, 1), parameters, bound)
    assert fewest is not None
    assert fewest > 1
    assert [suffices(fewest - 1), suffices(fewest)] == [False, True]


def test_no_number_suffices_for_a_bound_below_the_round_trip() -> None:
    assert fewest_servers(Room(100, 100.0, 100, 1), Parameters(lines=LINES), 0.001) is None


def test_output_depends_on_the_seed_only(capsys: pytest.CaptureFixture[str]) -> None:
    def output(seed: str) -> str:
        arguments = ["--members", "20000", "--per-process", "2000", "--lines", str(LINES), "--seed", seed]
        assert sizing.main(arguments) == 0
        return capsys.readouterr().out

    assert output("1") == output("1") != output("2")


def test_table_has_a_row_per_room(capsys: pytest.CaptureFixture[str]) -> None:
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
def test_invalid_option_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        sizing.main(arguments)
