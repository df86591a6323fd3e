"""CPU time and memory of the server's processes."""

from typing import TYPE_CHECKING

from simple_chat.bench.errors import LoadError

if TYPE_CHECKING:
    from collections.abc import Callable

    import psutil


class ProcessTree:
    """A process and its children.

    Args:
        pid: the process.

    Raises:
        LoadError: there is no such process.
    """

    def __init__(self, pid: int) -> None:
        import psutil  # noqa: PLC0415 - not needed without a process to measure

        self._psutil = psutil
        try:
            root = psutil.Process(pid)
            self._processes = [root, *root.children(recursive=True)]
        except psutil.Error as error:
            raise LoadError(f"can't measure process {pid}: it does not exist or is not readable") from error

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, user and system."""
        return self._sum(lambda each: sum(each.cpu_times()[:2]))

    def resident_bytes(self) -> int:
        """Return the resident memory."""
        return int(self._sum(lambda each: each.memory_info().rss))

    def _sum(self, read: "Callable[[psutil.Process], float]") -> float:
        try:
            return sum(map(read, self._processes))
        except self._psutil.Error as error:
            raise LoadError("the server ended during the measurement") from error
