"""The server with shorter waits for its disk, as a program: for tests of failing disks.

The environment variables RETRY_DELAY and STALL_TIMEOUT set the constants of `simple_chat.journal.file`.
"""

import os
import sys

from simple_chat.journal import file
from simple_chat.server.__main__ import main

if __name__ == "__main__":
    file.RETRY_DELAY = float(os.environ.get("RETRY_DELAY", file.RETRY_DELAY))
    file.STALL_TIMEOUT = float(os.environ.get("STALL_TIMEOUT", file.STALL_TIMEOUT))
    sys.exit(main())
