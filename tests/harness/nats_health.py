"""Whether NATS servers form a cluster, by what they report over HTTP."""

from collections.abc import Sequence

from tests.harness.nats_server import NatsServer


def responsive(servers: Sequence[NatsServer]) -> list[int]:
    """Return the indices of the servers that can answer."""
    return [index for index, server in enumerate(servers) if server.responsive]


def meta_leaders(servers: Sequence[NatsServer]) -> set[str]:
    """Return whom the servers take for the leader of the cluster: after a pause they may disagree."""
    reports = (server.fetch("/jsz") for server in servers if server.responsive)
    return {report.get("meta_cluster", {}).get("leader", "") for report in reports}


def is_current(server: NatsServer, servers: Sequence[NatsServer]) -> bool:
    """Return whether a server has caught up, and the others know it."""
    if not server.fetch("/healthz"):
        return False
    return len(servers) == 1 or (_is_routed(server, servers) and _is_followed(server, servers))


def _is_routed(server: NatsServer, servers: Sequence[NatsServer]) -> bool:
    """Return whether a server is connected to each of the others, and announces them to clients."""
    others = {each.name for each in servers if each.responsive} - {server.name}
    routes = server.fetch("/routez").get("routes", ())
    announced = server.fetch("/varz").get("connect_urls", ())
    return others <= {route.get("remote_name") for route in routes} and len(announced) > len(others)


def _is_followed(server: NatsServer, servers: Sequence[NatsServer]) -> bool:
    """Return whether all agree on one leader, who counts a server among the current replicas."""
    leaders = meta_leaders(servers)
    leader = next((each for each in servers if {each.name} == leaders), None)
    if leader is None:
        return False
    replicas = leader.fetch("/jsz").get("meta_cluster", {}).get("replicas", ())
    return server is leader or server.name in {each["name"] for each in replicas if each["current"]}
