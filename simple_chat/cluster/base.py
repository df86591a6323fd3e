"""What a replicator asks of its server."""

from typing import Protocol

from simple_chat.core.moderation import Order


class ReplicatorHost(Protocol):
    """The server, as a replicator sees it."""

    def on_commit(self) -> None:
        """Go on: what was proposed is committed, and more can be."""

    def on_unavailable(self, text: str) -> None:
        """Suspend: nothing can be committed for now.

        Args:
            text: the notice for members.
        """

    def on_recovered(self, text: str) -> None:
        """End the suspension; `on_commit` follows.

        Args:
            text: the notice for members.
        """

    def on_evicted(self) -> None:
        """Abort all connections: the other servers removed their members."""


class Moderator(Protocol):
    """Carries out what operators order, on the connections of this server."""

    def on_order(self, order: Order) -> None:
        """Carry out an order that has got its place in the log; the bans have it already."""
