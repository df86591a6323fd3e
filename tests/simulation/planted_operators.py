"""Planted faults of what operators order."""

from simple_chat.cluster.replicated import ReplicatedRoom
from simple_chat.core.conversation import Conversation
from simple_chat.server.moderation import Moderation
from tests.simulation.plan import Plan
from tests.simulation.planted import Edit, Planted

OPERATORS = [
    Planted(
        "a banned name is let in",
        Plan("single", 65, people=5, faults=20, seconds=60.0),
        Edit(Conversation, "_disconnect_banned", "self._room.bans.of_name(name)", "None"),
    ),
    Planted(
        "a kick is carried out by every server",
        Plan("cluster", 1, people=5, faults=5, seconds=60.0),
        Edit(
            Moderation,
            "on_order",
            "self.find(name)",
            "self.find(name) or next(iter(self._hub.connections), None)",
        ),
    ),
    Planted(
        "a snapshot has no bans",
        Plan("cluster", 42, people=5, faults=20, seconds=60.0),
        Edit(ReplicatedRoom, "snapshot", "[str(ban) for ban in self.room.bans]", "[]"),
    ),
    Planted(
        "who is banned may stay",
        Plan("single", 0, people=5, faults=20, seconds=60.0),
        Edit(Moderation, "_disconnect_if_banned", "if ban is not None:", "if False:"),
    ),
]
