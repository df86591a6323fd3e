from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.bans import Ban, Bans, format_time, parse_ban, parse_target
from simple_chat.core.network import parse_network

NOON = int(datetime(2026, 12, 1, 12, tzinfo=UTC).timestamp())


def network_ban(text: str, until: int | None = None) -> Ban:
    return Ban(None, parse_network(text), until)


def bans_of(*bans: Ban) -> Bans:
    found = Bans()
    found.replace(bans)
    return found


@pytest.mark.parametrize(
    ("ban", "line"),
    [
        (Ban("ann", None), "ann - -"),
        (Ban("ann", None, NOON, "flooding the room"), "ann - 2026-12-01T12:00:00Z flooding the room"),
        (Ban("Ann", parse_network("192.0.2.7"), None, "spam"), "Ann 192.0.2.7 - spam"),
        (network_ban("192.0.2.0/24", NOON), "- 192.0.2.0/24 2026-12-01T12:00:00Z"),
        (network_ban("2001:db8::1"), "- 2001:db8::/64 -"),
    ],
)
def test_ban_is_formatted_and_parsed(ban: Ban, line: str) -> None:
    assert str(ban) == line
    assert parse_ban(line) == ban


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ann -", "has not the columns"),
        ("- - -", "bans neither a name nor a network"),
        ("_ann - -", "bans neither"),
        ("ann 192.0.2 -", "192.0.2"),
        ("ann - tomorrow", "'tomorrow' is no time such as"),
        ("ann - 2026-12-01T12:00:00", "is no time"),  # in which zone?
    ],
)
def test_line_that_is_no_ban_is_refused(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_ban(line)


def test_reason_in_a_line_is_sanitized() -> None:
    assert parse_ban("ann - - a\x1b[31mb").reason == "a␛[31mb"


def test_name_is_banned_whatever_its_case() -> None:
    bans = bans_of(Ban("Ann", None))
    assert bans.of_name("aNN") == Ban("Ann", None)
    assert bans.of_name("anna") is None


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.8", "2001:db8::1"]),
        ("192.0.2.0/24", ["192.0.2.1", "192.0.2.255"], ["192.0.3.1"]),
        ("2001:db8::1", ["2001:db8::2", "2001:db8::1%eth0"], ["2001:db8:0:1::1", "192.0.2.7"]),
        ("0.0.0.0/0", ["192.0.2.7"], ["127.0.0.1", "", "2001:db8::1"]),
        ("::/0", ["2001:db8::1"], ["::1", "::ffff:127.0.0.1"]),
    ],
)
def test_hosts_of_a_network_are_banned(network: str, inside: list[str], outside: list[str]) -> None:
    bans = bans_of(network_ban(network))
    assert all(map(bans.of_host, inside))
    assert not any(map(bans.of_host, outside))


def test_longest_network_decides() -> None:
    wide, narrow = network_ban("192.0.2.0/24"), network_ban("192.0.2.7", NOON)
    bans = bans_of(wide, narrow, network_ban("2001:db8::/32"))
    assert bans.of_host("192.0.2.7") == narrow
    assert bans.of_host("192.0.2.8") == wide
    bans.remove("192.0.2.7")
    assert bans.of_host("192.0.2.7") == wide


def test_ban_of_the_same_target_replaces_the_one_before() -> None:
    both = Ban("ann", parse_network("192.0.2.7"))
    bans = bans_of(both)
    assert [*bans] == [both]
    bans.add(Ban("ANN", None, NOON))
    assert [*bans] == [Ban("ANN", None, NOON)]
    assert bans.of_host("192.0.2.7") is None
    bans.add(both)
    bans.add(network_ban("192.0.2.7"))
    assert [*bans] == [network_ban("192.0.2.7")]


@pytest.mark.parametrize("target", ["ann", "ANN", "192.0.2.7", "192.0.2.7/32"])
def test_ban_is_found_and_removed_by_name_or_network(target: str) -> None:
    bans = bans_of(Ban("ann", parse_network("192.0.2.7")), Ban("ben", None))
    assert bans.find(target) == Ban("ann", parse_network("192.0.2.7"))
    bans.remove(target)
    assert [*bans] == [Ban("ben", None)]
    assert bans.find(target) is None
    bans.remove(target)


def test_name_that_looks_like_an_address_can_be_banned_with_its_network() -> None:
    bans = bans_of(Ban("192.0.2.9", parse_network("192.0.2.7")))
    assert bans.of_name("192.0.2.9")
    assert not bans.of_host("192.0.2.9")
    bans.add(Ban("192.0.2.9", None))
    assert [*bans] == [Ban("192.0.2.9", None)]


def test_bans_expire_at_their_time() -> None:
    soon, later, never = Ban("ann", None, NOON), network_ban("192.0.2.7", NOON + 1), Ban("ben", None)
    bans = bans_of(soon, later, never)
    assert bans.expire(NOON - 0.5) == []
    assert bans.expire(NOON) == [soon]
    assert [*bans] == [never, later]
    assert bans.expire(NOON + 100) == [later]
    assert bans.of_host("192.0.2.7") is None


@pytest.mark.parametrize(
    ("ban", "text"),
    [
        (Ban("ann", None, None, "spam"), "spam"),
        (Ban("ann", None, NOON, "spam"), "spam (until 2026-12-01T12:00:00Z)"),
        (Ban("ann", None), "an operator has banned you"),
    ],
)
def test_who_is_banned_is_told_why_and_until_when(ban: Ban, text: str) -> None:
    assert ban.text == text


@pytest.mark.parametrize("text", ["", "_x", "192.0.2.0/33", "a b", "*"])
def test_what_is_neither_name_nor_network_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match="is neither a name nor an address nor a network"):
        parse_target(text)


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True) | st.none(),
    st.ip_addresses().map(lambda address: parse_network(str(address))) | st.none(),
    st.none() | st.integers(0, 4_000_000_000),
    st.text(),
)
def test_any_ban_survives_its_text_form(
    name: str | None, network: object, until: int | None, reason: str
) -> None:
    if name is None and network is None:
        return
    ban = parse_ban(str(Ban(name, network, until, reason)).replace("\n", " "))  # type: ignore[arg-type]
    assert (ban.name, ban.network, ban.until) == (name, network, until)
    assert parse_ban(str(ban)) == ban


def test_time_is_formatted_in_utc() -> None:
    assert format_time(NOON) == "2026-12-01T12:00:00Z"
