"""What the server costs: processor time and memory of its process."""

from typing import TYPE_CHECKING

from simple_chat.bench.errors import LoadError

if TYPE_CHECKING:
    from collections.abc import Callable

    import psutil


class Server:
    """A server's process and its children.

    Args:
        pid: its process.

    Raises:
        LoadError: there is no such process.
    """

    def __init__(self, pid: int) -> None:
        import psutil  # noqa: PLC0415 - not needed without a process to look at

        self._psutil = psutil
        try:
            root = psutil.Process(pid)
            self._processes = [root, *root.children(recursive=True)]
        except psutil.Error as error:
            raise LoadError(f"there is no process {pid} that can be looked at") from error

    def cpu(self) -> float:
        """Return the processor time it took so far, in seconds: user's and system's."""
        return self._sum(lambda each: sum(each.cpu_times()[:2]))

    def memory(self) -> int:
        """Return the bytes it has in memory."""
        return int(self._sum(lambda each: each.memory_info().rss))

    def _sum(self, read: "Callable[[psutil.Process], float]") -> float:
        try:
            return sum(map(read, self._processes))
        except self._psutil.Error as error:
            raise LoadError("the server's process is gone") from error
