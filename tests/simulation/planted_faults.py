"""The planted faults, each with a world in which it shows, and does so early."""

from tests.simulation.planted_cluster import CLUSTER
from tests.simulation.planted_core import DELIVERY, ROOM, SESSION
from tests.simulation.planted_operators import OPERATORS
from tests.simulation.planted_server import JOURNAL, SERVER

PLANTED = [*DELIVERY, *ROOM, *SESSION, *SERVER, *CLUSTER, *JOURNAL, *OPERATORS]
"""All planted faults."""
