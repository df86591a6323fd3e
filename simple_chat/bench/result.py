"""The result of a run.

Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
"""The percentiles of the table."""

CURVE_PERCENTILES = tuple(100 - 100 / 10 ** (step / 10) for step in range(41))
"""The percentiles of the plot: from 0 to 99.99, evenly spaced on its logarithmic axis."""

SATURATED = 0.9
"""Share of a processor above which a single-threaded process is considered to be at its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a run; the names are those of the JSON output.

    Attributes:
        clients: number of clients, without the observer and the marker sender.
        senders: number of clients that sent messages.
        window: messages in flight (closed loop), None with a rate.
        rate: messages due per second (open loop), None with a window.
        size: bytes of a message's text.
        seconds: duration of the measurement.
        messages: sent during the measurement.
        deliveries: lines that clients and observer received during it; the marker sender's don't count.
        deliveries_per_second: their rate.
        latency_us: microseconds from sending to receiving, by percentile; empty if there were none.
        latency_curve_us: pairs of percentile and microseconds, for the plot.
        cpu_us_per_delivery: microseconds of the server's CPU time, None if its process is not known.
        kib_per_member: growth of the server's memory per joined connection, None if not known.
        tool_cpu: processors that the load generator used, 1.0 being one fully busy.
        server_cpu: processors that the server used, None if not known.
        lost: deliveries of the whole run that are missing, or came after a fault.
        faults: number of connections and messages with a fault.
        first_faults: descriptions of the first ones.
    """

    clients: int
    senders: int
    window: int | None
    rate: int | None
    size: int
    seconds: float
    messages: int
    deliveries: int
    deliveries_per_second: float
    latency_us: dict[str, float]
    latency_curve_us: Sequence[tuple[float, float]]
    cpu_us_per_delivery: float | None
    kib_per_member: float | None
    tool_cpu: float
    server_cpu: float | None
    lost: int
    faults: int
    first_faults: Sequence[str]

    @property
    def correct(self) -> bool:
        """Whether everybody received what they should have, and nothing else."""
        return not self.lost and not self.faults

    @property
    def warning(self) -> str | None:
        """Why the figures may not be the server's, or None."""
        if self.tool_cpu <= SATURATED or (self.server_cpu or 0) > SATURATED:
            return None
        verb = "may be" if self.server_cpu is None else "are"
        used = f"the load generator used {self.tool_cpu:.0%} of a processor"
        return f"{used}: the figures {verb} its limit, not the server's"
