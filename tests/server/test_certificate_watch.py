import asyncio
import re
import ssl
import time

import pytest

from simple_chat.server import certificate_watch
from simple_chat.server.certificate_watch import CertificateWatch
from tests.harness.server import run_server_in_loop, server_tls_context

DAY = 86_400.0


@pytest.fixture
def context() -> ssl.SSLContext:
    """A context; its certificate ends as the test says."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.mark.parametrize(
    ("days", "level", "text"),
    [
        (15.0, None, ""),
        (13.9, "WARNING", "the certificate ends on .*, in 13 days: renew it"),
        (0.5, "WARNING", "in 0 days"),
        (-1.0, "ERROR", "the certificate ended on .*: no client connects, renew it"),
    ],
)
async def test_end_of_the_certificate_is_logged_in_time(
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    days: float,
    level: str | None,
    text: str,
) -> None:
    end = time.time() + days * DAY
    monkeypatch.setattr(certificate_watch, "certificate_end", lambda _: end)
    watch = CertificateWatch()
    watch.watch(context)
    watch.stop()
    assert watch.end == end
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    assert re.search(text, caplog.text)
    caplog.clear()


async def test_certificate_is_looked_at_again_each_day(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(certificate_watch, "_DAY", 0.001)
    monkeypatch.setattr(certificate_watch, "certificate_end", lambda _: time.time() + DAY)
    watch = CertificateWatch()
    watch.watch(context)
    async with asyncio.timeout(20):
        while len(caplog.records) < 3:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.001)
    watch.watch(None)
    assert watch.end is None
    caplog.clear()


async def test_server_watches_its_certificate_and_the_next_one() -> None:
    async with run_server_in_loop(tls=server_tls_context()) as harness:
        first = harness.server.certificate.end
        assert first is not None
        assert first > time.time()
        harness.server.tls = server_tls_context()
        assert harness.server.certificate.end is not None
