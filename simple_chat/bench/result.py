"""What a run found out.

Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

PERCENTS = (50.0, 90.0, 99.0, 99.9)
"""The percentiles that a table has room for."""

CURVE = tuple(100 - 100 / 10 ** (step / 10) for step in range(41))
"""The percentiles that a plot shows: from 0 to 99.99, as close to each other on the scale that it has."""

BUSY = 0.9
"""Share of a processor above which a program is as fast as it can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run found out.

    Attributes:
        clients: how many there were, without the observer and the starter.
        senders: how many of them said something.
        window: messages on their way at a time, or None for a rate.
        rate: messages a second that were to be said, or None for a window.
        size: bytes of a message's text.
        seconds: how long it was measured.
        messages: said in that time.
        deliveries: lines that clients and observer got in that time; the starter's are not counted.
        deliveries_per_second: their rate.
        latency_us: microseconds from sending to arriving, by percentile; without any, empty.
        latency_curve_us: the same as pairs of percentile and microseconds, close enough for a plot.
        cpu_us_per_delivery: microseconds of processor time of the server, None if its process is not known.
        kib_per_member: growth of the server's memory while the members came, None if not known.
        tool_cpu: processors that the load tool itself used, 1.0 being one that did nothing else.
        server_cpu: processors that the server used, None if not known.
        lost: deliveries of the whole run that did not come, or came after a fault.
        faults: how many connections or messages something was wrong with.
        first_faults: some of them in words.
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
    def right(self) -> bool:
        """Whether everybody got what they should, and nothing else."""
        return not self.lost and not self.faults

    @property
    def warning(self) -> str | None:
        """What to know before believing the figures."""
        if self.tool_cpu <= BUSY or (self.server_cpu or 0) > BUSY:
            return None
        perhaps = "may be" if self.server_cpu is None else "are"
        used = f"this tool used {self.tool_cpu:.0%} of a processor"
        return f"{used}: the figures {perhaps} its limit, not the server's"
