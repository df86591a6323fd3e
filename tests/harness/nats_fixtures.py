"""NATS servers for tests: shared ones, and ones that a test may kill and pause.

A cluster of three starts in half a second, but takes up to ten to elect a leader after a kill: tests of that
kind have a cluster of their own, or, where three servers are not the point, a single one.
"""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.harness.nats import NatsCluster, NatsTls
from tests.harness.nats_credentials import Operator

OWN_ROOM = "room"
"""Name of the room on a cluster of a test's own."""


@pytest.fixture(scope="session")
def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """Three servers for all tests, none of which kills or pauses them."""
    with NatsCluster(tmp_path_factory.mktemp("nats"), sync=False) as cluster:
        yield cluster


@pytest.fixture
def room_name(nats_cluster: NatsCluster) -> Iterator[str]:
    """A room that nobody had before on the shared servers; its stream is deleted afterwards."""
    name = f"room-{uuid4().hex}"
    yield name
    nats_cluster.delete(name)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three servers for one test, which may kill and pause them."""
    with NatsCluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsCluster]:
    """One standalone server for one test: it needs no election after it was killed or paused."""
    with NatsCluster(tmp_path, servers=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Issues the credentials for `secured_server`."""
    return Operator(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="session")
def nats_tls(tmp_path_factory: pytest.TempPathFactory) -> NatsTls:
    """The certificate of `secured_server`."""
    return NatsTls.issue(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def secured_server(
    tmp_path_factory: pytest.TempPathFactory, operator: Operator, nats_tls: NatsTls
) -> Iterator[NatsCluster]:
    """One standalone server with TLS and credentials, for all tests."""
    folder = tmp_path_factory.mktemp("secured")
    with NatsCluster(folder, servers=1, tls=nats_tls, operator=operator) as cluster:
        yield cluster


@pytest.fixture
def secured_room(secured_server: NatsCluster) -> Iterator[str]:
    """A room that nobody had before on `secured_server`; its stream is deleted afterwards."""
    name = f"room-{uuid4().hex}"
    yield name
    secured_server.start()
    secured_server.delete(name)
