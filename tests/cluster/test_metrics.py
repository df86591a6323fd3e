"""What a server of a cluster says of itself while NATS is there, and while it is not."""

import asyncio

from tests.harness.cluster import RECOVERED, UNAVAILABLE, cluster_options, join_each_program, quick_server
from tests.harness.http import get, scrape
from tests.harness.nats import NatsCluster
from tests.harness.nats_fixtures import OWN_ROOM


async def test_server_is_not_ready_while_nats_is_away(own_server: NatsCluster) -> None:
    options = (*cluster_options(own_server, OWN_ROOM), "--metrics", "0")
    async with quick_server(*options) as one, quick_server(*options) as other:
        ann, bob = await join_each_program((one, other), "ann", "bob")
        samples = await scrape(one.metrics_address)
        assert (samples["simple_chat_cluster_servers"], samples["simple_chat_cluster_available"]) == (2, 1)
        assert samples["simple_chat_members"] == 2
        assert samples['simple_chat_connections{face="plain",state="established"}'] == 1
        assert samples["simple_chat_cluster_commit_seconds_count"] >= 2

        await asyncio.to_thread(own_server.pause_all)
        assert await ann.line() == UNAVAILABLE
        ann.send("MSG hi", "HELP")
        await ann.until("OK HELP")
        ready = await get(one.metrics_address, "/readyz")
        assert ready.status == 503
        assert ready.body.startswith("the cluster is unavailable: ")
        samples = await scrape(one.metrics_address)
        assert (samples["simple_chat_cluster_available"], samples["simple_chat_ready"]) == (0, 0)
        assert samples["simple_chat_cluster_waiting_bytes"] >= len("MSG ann hi\n")

        await asyncio.to_thread(own_server.start)
        await ann.until(RECOVERED)
        await bob.until("MSG ann hi")
        await ann.barrier()
        assert (await get(one.metrics_address, "/readyz")).body == "ready\n"
        samples = await scrape(one.metrics_address)
        assert samples["simple_chat_cluster_waiting_bytes"] == 0
        assert samples["simple_chat_messages_total"] == 1
        assert samples["simple_chat_deliveries_total"] == 1  # bob's JOINED
        assert (await scrape(other.metrics_address))["simple_chat_deliveries_total"] == 1
