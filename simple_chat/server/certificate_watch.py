"""Warn before the certificate ends: once at the start and with each new certificate, then once a day."""

import asyncio
import logging
import ssl
import time

from simple_chat.core.bans import format_time
from simple_chat.tls import certificate_end

logger = logging.getLogger(__name__)

_DAY = 86_400.0
_WARN_BEFORE = 14 * _DAY
"""Seconds: certificates that live for 90 days are renewed 30 days before their end."""


class CertificateWatch:
    """Watches the end of the certificate that new connections are shown.

    Attributes:
        end: of the certificate, in seconds since the epoch; None without one.
    """

    def __init__(self) -> None:
        self.end: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, context: ssl.SSLContext | None) -> None:
        """Watch another certificate from now on: that of a server's context; None for none."""
        self.end = None if context is None else certificate_end(context)
        self._check()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self.stop()
        if self.end is None:
            return
        left = self.end - time.time()
        if left <= 0:
            logger.error(
                "the certificate ended on %s: no client connects, renew it", format_time(int(self.end))
            )
        elif left <= _WARN_BEFORE:
            days = int(left / _DAY)
            logger.warning(
                "the certificate ends on %s, in %d days: renew it", format_time(int(self.end)), days
            )
        self._timer = asyncio.get_running_loop().call_later(_DAY, self._check)
