"""Keys: completion, input history and search."""

import sys
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import pytest

from tests.client.terminal.conftest import RUN_CLIENT
from tests.harness.line_socket import LineSocket
from tests.harness.programs import ServerProcess
from tests.harness.screen import INTERRUPT, SEARCH, UP, Screen

Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]


def test_tab_completes_a_command_and_a_name(join: Join, member: Member) -> None:
    cleo = member("cleo")
    ann = join("ann")
    ann.press("s\t", "hello c\t", "!")
    ann.wait_for("ann> send hello cleo !")
    ann.press("\r")
    cleo.wait_for("MSG ann hello cleo !")


def test_tab_lists_the_candidates_above_the_prompt(join: Join) -> None:
    ann = join("ann")
    ann.press("h\t")
    ann.wait_for("help  history", "ann> h")
    ann.press("i\t", "1")
    ann.wait_for("help  history", "ann> history 1")


def test_tab_completes_the_common_prefix_then_lists_the_candidates(join: Join, member: Member) -> None:
    member("Ben.Nevis")
    ann = join("ann")
    member("benny")
    ann.wait_for("* benny joined", "ann>")
    ann.press("send b\t")
    ann.wait_for("* benny joined", "ann> send ben")
    ann.press("\t")
    ann.wait_for("* benny joined", "Ben.Nevis  benny", "ann> send ben")


def test_tab_completes_current_members_only(join: Join, member: Member) -> None:
    ann = join("ann")
    member("ben").send("LEAVE")
    ann.wait_for("* ben joined", "* ben left", "ann>")
    member("bernie")
    ann.wait_for("* bernie joined", "ann>")
    ann.press("send a\t", " b\t", "!")
    ann.wait_for("* bernie joined", "ann> send a bernie !")


def test_tab_without_a_match_does_nothing(join: Join) -> None:
    ann = join("ann")
    ann.press("x\t", "who w\t", "!")
    ann.wait_for("ann> xwho w!")
    assert ann.rows()[1:] == ["ann> xwho w!"]


def test_up_arrow_recalls_earlier_input(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.type("send one", "send two")
    ann.wait_for("> send two", "ann>")
    ann.press(UP, UP)
    ann.wait_for("> send two", "ann> send one")
    ann.type(" more")
    assert ben.wait_for("MSG ann one more") == ["JOINED ann", "MSG ann one", "MSG ann two"]


def test_input_history_is_kept_between_sessions(join: Join, tmp_path: Path) -> None:
    before = join("before")
    before.type("send remember me", "leave")
    assert before.wait_for_exit() == 0
    kept = tmp_path / "state" / "simple_chat" / "history"
    assert [path.stat().st_mode & 0o777 for path in (kept, kept.parent)] == [0o600, 0o700]
    after = join("after")
    after.press(UP, UP)
    after.wait_for("after> send remember me")


def test_no_history_option_writes_no_file(join: Join, tmp_path: Path) -> None:
    ann = join("ann", "--no-history")
    ann.type("send secret")
    ann.wait_for("> send secret", "ann>")
    ann.press(UP)
    ann.wait_for("> send secret", "ann> send secret")
    assert not (tmp_path / "state").exists()


def test_input_history_falls_back_to_memory_without_a_directory(
    join: Join, member: Member, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("this is no directory")
    ben = member("ben")
    ann = join("ann")
    ann.type("send hello")
    ben.wait_for("MSG ann hello")
    ann.wait_for("> send hello", "ann>")
    ann.press(UP)
    ann.wait_for("> send hello", "ann> send hello")


def test_input_history_falls_back_to_memory_without_a_file(
    join: Join, member: Member, tmp_path: Path
) -> None:
    (tmp_path / "state" / "simple_chat" / "history").mkdir(parents=True)
    ben = member("ben")
    ann = join("ann")
    ann.type("send one", "send two")
    assert ben.wait_for("MSG ann two") == ["JOINED ann", "MSG ann one"]
    ann.wait_for("> send one", "> send two", "ann>")


def test_client_without_a_home_directory_keeps_no_file(
    server: ServerProcess, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    unknown_user = "import pwd\ndef getpwuid(uid): raise KeyError(uid)\npwd.getpwuid = getpwuid"
    ben = member("ben")
    options = ("--port", server.port, "--username", "ann")
    with Screen(sys.executable, "-c", f"{unknown_user}\n{RUN_CLIENT}", *options) as ann:
        ann.wait_until(lambda: ann.rows()[-1] == "ann>")
        ann.type("send hello")
        ben.wait_for("MSG ann hello")
        ann.press(UP)
        ann.wait_for("> send hello", "ann> send hello")


def test_relative_state_directory_is_ignored(
    join: Join, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    join("ann")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("typed", [b"send caf\xe9", b"\xe9", b"\x1b[200~send a\rcaf\xe9\x1b[201~"])
def test_bytes_that_are_not_utf_8_get_a_hint_and_are_not_sent(
    join: Join, member: Member, typed: bytes, tmp_path: Path
) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press_bytes(typed + b"\r")
    ann.wait_for("* nothing was sent: what you typed is not UTF-8, set your terminal to it", "ann>")
    ann.type("send café")
    assert ben.wait_for("MSG ann café") == ["JOINED ann"]
    assert "\ufffd" not in (tmp_path / "state" / "simple_chat" / "history").read_text()


def test_failed_write_of_the_input_history_is_reported(join: Join, member: Member, tmp_path: Path) -> None:
    ben = member("ben")
    ann = join("ann")
    rmtree(tmp_path / "state")
    ann.type("send one")
    ben.wait_for("MSG ann one")
    ann.wait_for("> send one", "* your input can't be saved: No such file or directory", "ann>")


@pytest.mark.parametrize("keys", ["\x1b\r", "\x0f", "\x1b#"], ids=["alt-enter", "ctrl-o", "alt-#"])
def test_other_keys_that_accept_a_line_do_not_end_the_client(join: Join, member: Member, keys: str) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press("send one", keys)
    ann.type("", "send two")
    ben.wait_for("MSG ann two")


@pytest.mark.parametrize("report", [b"\x1b[M\xff\xff\xff", b"\x1b[<999;1;1M", b"\x1b[Mabc", b"\x1b[999M"])
def test_reports_of_the_mouse_are_ignored(join: Join, member: Member, report: bytes) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press_bytes(b"send hel" + report)
    ann.type("lo")
    assert ben.wait_for("MSG ann hello") == ["JOINED ann"]
    ann.wait_for("> send hello", "ann>")


def test_search_finds_earlier_input(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.type("send one", "send two")
    ann.wait_for("> send two", "ann>")
    ann.press(SEARCH, "on")
    ann.wait_for("> send two", "(reverse-i-search)`on': send one")
    ann.press("\r")
    ann.wait_for("> send two", "ann> send one")
    ann.press("\r")
    ann.wait_for("> send one", "ann>")
    ann.type("send three")
    assert ben.wait_for("MSG ann three")[-1] == "MSG ann one"


def test_ctrl_c_ends_a_search_and_not_the_client(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press(SEARCH)
    ann.wait_for("(reverse-i-search)`':")
    ann.press(INTERRUPT)
    ann.wait_for("ann>")
    ann.type("send hello")
    assert ben.wait_for("MSG ann hello") == ["JOINED ann"]
