import ssl
from contextlib import nullcontext

import pytest

from simple_chat import ConfigError, ListenError, Settings
from simple_chat.server.access import check_access, exposed, tcp_addresses

NEAR, FAR = ("127.0.0.1", 1), ("192.0.2.1", 2)
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.mark.parametrize(
    ("host", "port", "elsewhere", "addresses"),
    [
        (None, None, False, [("127.0.0.1", 8090)]),
        (None, 1, False, [("127.0.0.1", 1)]),
        ("a", None, False, [("a", 8090)]),
        (["a", "b:2"], 1, False, [("a", 1), ("b", 2)]),
        (None, None, True, []),
        (None, 1, True, [("127.0.0.1", 1)]),
        ("a", None, True, [("a", 8090)]),
    ],
)
def test_addresses_have_defaults_unless_there_is_something_else_to_listen_on(
    host: str | list[str] | None,
    port: int | None,
    elsewhere: bool,  # noqa: FBT001 (a parameter)
    addresses: list[tuple[str, int]],
) -> None:
    assert tcp_addresses(host, port, elsewhere=elsewhere) == addresses


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ListenError, match="can't listen: 'a:x:c' is neither"):
        tcp_addresses("a:x:c", None, elsewhere=False)


def test_addresses_that_others_may_reach_are_exposed() -> None:
    assert exposed([NEAR, FAR, ("::1", 1), ("::", 3)]) == ["192.0.2.1:2", "[::]:3"]


@pytest.mark.parametrize(
    ("settings", "addresses", "tls", "password", "reason"),
    [
        (Settings(), [NEAR, FAR], None, False, None),
        (Settings(), [NEAR], None, True, None),
        (Settings(), [NEAR, FAR], TLS, True, None),
        (Settings(insecure=True), [FAR], None, True, None),
        (Settings(), [NEAR, FAR], None, True, "on 192.0.2.1:2 a password needs TLS"),
        (Settings(), [], None, True, None),
        (Settings(), [], TLS, False, "TLS and --reuse-port are for TCP"),
        (Settings(reuse_port=True), [], None, False, "TLS and --reuse-port are for TCP"),
    ],
)
def test_password_on_a_network_needs_tls_and_tls_an_address(
    settings: Settings,
    addresses: list[tuple[str, int]],
    tls: ssl.SSLContext | None,
    password: bool,  # noqa: FBT001 (a parameter)
    reason: str | None,
) -> None:
    with nullcontext() if reason is None else pytest.raises(ConfigError, match=reason):
        check_access(settings, addresses, tls, password_required=password)
