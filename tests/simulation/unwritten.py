"""What a journal does not know after a crash of somebody who left while it could not be written.

Pure.
"""

from collections.abc import Collection
from dataclasses import replace

from tests.harness.transcript import End, Recording

_GOODBYES = ("OK LEAVE", "BYE quit", "BYE kicked", "BYE banned")


def as_far_as_written(recording: Recording, present: Collection[str]) -> Recording:
    """Return a recording up to where somebody left of whom the journal does not know it.

    Who leaves while the disk fails does not wait for it, and is told by a GAP right before the end how many
    lines are not written yet; after a crash these, and the LEFT, are nowhere. They are the last ones: nobody
    joins before they are written.

    Args:
        recording: of one connection.
        present: the names of those who never left, as the journal tells.
    """
    lines = recording.received.decode(errors="surrogateescape").split("\n")
    joins = [at for at, line in enumerate(lines) if line.startswith("OK JOIN ")]
    if not joins or lines[joins[-1]].removeprefix("OK JOIN ") not in present:
        return recording
    ends = [at for at, line in enumerate(lines) if at > joins[-1] and line in _GOODBYES]
    if not ends:
        return recording
    end = ends[0]
    while lines[end - 1].startswith(("GAP ", "ERR kicked ", "ERR banned ")):
        end -= 1
    received = "".join(f"{line}\n" for line in lines[:end])
    return replace(recording, received=received.encode(errors="surrogateescape"), end=End.VANISHED)
