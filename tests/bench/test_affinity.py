import os
import sys
from subprocess import PIPE, Popen

import pytest

from simple_chat.bench.affinity import pin_apart

if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
    pytest.skip("needs two processors", allow_module_level=True)


def test_two_processes_share_no_processor_until_the_end() -> None:
    before = os.sched_getaffinity(0)
    with Popen([sys.executable, "-c", "input()"], stdin=PIPE) as other:
        with pin_apart(other.pid):
            ours, theirs = os.sched_getaffinity(0), os.sched_getaffinity(other.pid)
        other.communicate(b"\n")
    assert (len(ours), ours | theirs, ours & theirs) == (1, before, set())
    assert os.sched_getaffinity(0) == before
