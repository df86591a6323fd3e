"""The server program with a cluster timing for tests: python -m tests.harness.quick_server.

It has the options of ``python -m simple_chat.server``. What no option sets is set here: timeouts, lease and
heartbeat.
"""

import sys

from simple_chat import Settings
from simple_chat.server.__main__ import main
from tests.harness.timing import HEARTBEAT, LEASE, SHORT_TIMEOUTS


def _shorten_timing() -> None:
    for module, name, value in SHORT_TIMEOUTS:
        assert hasattr(module, name)
        setattr(module, name, value)
    defaults = Settings.__init__.__kwdefaults__
    assert defaults is not None
    defaults.update(cluster_lease=LEASE, cluster_heartbeat=HEARTBEAT)


if __name__ == "__main__":
    _shorten_timing()
    sys.exit(main())
