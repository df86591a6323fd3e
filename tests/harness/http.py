"""Requests to a server's address for metrics and health, and what it answers."""

import asyncio
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.harness.peer import DEADLINE

Address = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP.
        fields: of the head, by their names in lower case.
        body: what follows.
    """

    status: int
    fields: dict[str, str]
    body: str


def parse_answer(data: bytes) -> Answer:
    """Parse all bytes of an answer."""
    head, _, body = data.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Answer(int(status), fields, body)


async def exchange(address: Address, request: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


async def get(address: Address, path: str, *fields: str, method: str = "GET") -> Answer:
    """Ask for a page."""
    head = "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", "Host: chat", *fields, ""))
    return parse_answer(await exchange(address, head.encode()))


async def scrape(address: Address) -> dict[str, float]:
    """Return the samples of all metrics, by their names with labels as ``name{label="value"}``."""
    answer = await get(address, "/metrics")
    assert answer.status == 200
    return {
        _key(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(answer.body)
        for sample in family.samples
    }


def _key(name: str, labels: dict[str, str]) -> str:
    pairs = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{pairs}}}" if pairs else name
