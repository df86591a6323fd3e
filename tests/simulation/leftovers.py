"""What a server must not keep of connections that are gone."""

from collections.abc import Iterator

from simple_chat.server.server import Server


def leftovers(server: Server, connections: int) -> Iterator[str]:
    """Yield what a server has too many of.

    Args:
        server: nobody has come or gone for some seconds.
        connections: how many it should have.
    """
    hub = server.hub
    watchdog, scheduler = hub._watchdog, hub._scheduler
    counts = {
        "connections": len(hub.connections),
        "admitted connections": server._acceptor.admission.admitted,
    }
    yield from (
        f"{count} {what}, not {connections}" for what, count in counts.items() if count != connections
    )
    if server.room.delivery.suspended:
        yield "a room that still expects nothing to be committed"
    kept = {
        "in the scheduler": {*scheduler._ready, *scheduler._ready_pre_join, *scheduler._awaiting},
        "in the watchdog": {
            *watchdog._join_deadlines,
            *watchdog._backpressured,
            *watchdog._closing_since,
        },
    }
    for where, found in kept.items():
        if gone := found - {*hub.connections}:
            yield f"{len(gone)} connections that are gone are {where}"
