from datetime import timedelta

import pytest

from simple_chat.errors import AdminError
from simple_chat.server.admin_commands import (
    USAGE,
    AdminCommand,
    BanTarget,
    Drain,
    Help,
    KickMember,
    ListBans,
    ListConnections,
    Quit,
    Reload,
    Say,
    SetLogLevel,
    Status,
    UnbanTarget,
    parse_admin_command,
    parse_duration,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("STATUS", Status()),
        (" status ", Status()),
        ("LIST", ListConnections("*")),
        ("list a*", ListConnections("a*")),
        ("KICK ann", KickMember("ann")),
        ("KICK ann  be nice ", KickMember("ann", "be nice")),
        ("BAN ann", BanTarget("ann")),
        ("BAN 192.0.2.0/24 spam for all", BanTarget("192.0.2.0/24", None, "spam for all")),
        ("BAN ann for 2h", BanTarget("ann", timedelta(hours=2))),
        ("BAN ann FOR 7d flooding the room", BanTarget("ann", timedelta(days=7), "flooding the room")),
        ("UNBAN ann", UnbanTarget("ann")),
        ("BANS", ListBans()),
        ("SAY the server restarts at 12:00", Say("the server restarts at 12:00")),
        ("DRAIN", Drain()),
        ("RELOAD", Reload()),
        ("LOG debug", SetLogLevel(verbose=True)),
        ("LOG Info", SetLogLevel(verbose=False)),
        ("HELP", Help()),
        ("QUIT", Quit()),
    ],
)
def test_command_is_parsed(line: str, command: AdminCommand) -> None:
    assert parse_admin_command(line) == command


@pytest.mark.parametrize(
    ("line", "code", "problem"),
    [
        ("SHUTDOWN", "unknown-command", "there is no command 'SHUTDOWN': HELP lists all"),
        ("STATUS now", "bad-syntax", "'now' is too much"),
        ("LIST a b", "bad-syntax", "'a b' is more than one pattern"),
        ("KICK", "bad-syntax", "the name of a member is missing"),
        ("KICK _x", "bad-syntax", "'_x' is not a valid name"),
        ("BAN", "bad-syntax", "a name, an address or a network is missing"),
        ("BAN ann for ever", "bad-syntax", "'ever' is not a time such as"),
        ("BAN ann for", "bad-syntax", "'' is not a time"),
        ("UNBAN", "bad-syntax", "is missing"),
        ("SAY", "bad-syntax", "a text is missing"),
        ("LOG", "bad-syntax", "'' is neither debug nor info"),
        ("LOG trace", "bad-syntax", "'trace' is neither"),
    ],
)
def test_invalid_command_is_refused(line: str, code: str, problem: str) -> None:
    with pytest.raises(AdminError, match=problem) as raised:
        parse_admin_command(line)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("1s", timedelta(seconds=1)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("4w", timedelta(weeks=4)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_duration_is_parsed(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "0m", "10", "m", "-1h", "1.5h", "36501d", "999999w", "1y", "٣h"])
def test_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(AdminError, match="is not a time such as"):
        parse_duration(text)


def test_usage_names_every_command() -> None:
    assert [line.split()[0] for line in USAGE] == [
        *["STATUS", "LIST", "KICK", "BAN", "UNBAN", "BANS", "SAY", "DRAIN", "RELOAD", "LOG", "HELP", "QUIT"],
    ]
