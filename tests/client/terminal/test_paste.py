"""Pasted lines."""

from collections.abc import Callable

from tests.harness.line_socket import LineSocket
from tests.harness.screen import HARMFUL, INTERRUPT, Screen

Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]

FOUR = ("send one", "two", "three", "four")


def test_pasted_text_of_three_lines_is_sent_as_three_messages(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press("send ")
    ann.paste("one", "who", "three")
    ann.press("\r")
    assert ben.wait_for("MSG ann three") == ["JOINED ann", "MSG ann one", "MSG ann who"]
    ann.wait_for("> send one", "> who", "> three", "ann>")


def test_nothing_pasted_is_sent_before_enter(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.paste("send one", "two", "")
    ann.wait_until(lambda: "two" in "".join(ann.rows()))
    ben.send("MSG is anybody there?")
    ann.wait_until(lambda: "ben: is anybody there?" in ann.rows())
    ann.press(INTERRUPT)
    ann.wait_for("ann>")
    ann.type("send three")
    assert ben.wait_for("MSG ann three") == ["JOINED ann"]


def test_pasted_commands_are_executed(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.paste("send one", "who", "send two")
    ann.press("\r")
    assert ben.wait_for("MSG ann two") == ["JOINED ann", "MSG ann one"]
    ann.wait_for("> send one", "> who", "> send two", "* 2 here: ben, ann", "ann>")


def test_more_than_three_lines_are_sent_after_confirmation(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.paste(*FOUR)
    ann.press("\r")
    ann.wait_for("send these 4 lines? [y/N/view]")
    ann.type("y")
    sent = ["JOINED ann", "MSG ann one", "MSG ann two", "MSG ann three"]
    assert ben.wait_for("MSG ann four") == sent
    ann.wait_for(*(f"> {line}" for line in FOUR), "ann>")


def test_held_back_paste_can_be_viewed_before_it_is_sent(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.paste(*FOUR)
    ann.press("\r")
    for answer in ("v", "View"):
        ann.wait_for("send these 4 lines? [y/N/view]")
        ann.type(answer)
        ann.wait_for(*(f"| {line}" for line in FOUR), "send these 4 lines? [y/N/view]")
    ann.type("n")
    ann.wait_for("* nothing was sent", "ann>")
    ann.type("send five")
    assert ben.wait_for("MSG ann five") == ["JOINED ann"]


def test_unconfirmed_paste_is_not_sent(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    for answer in ("n", "", "what?"):
        ann.paste(*FOUR)
        ann.press("\r")
        ann.wait_for("send these 4 lines? [y/N/view]")
        ann.type(answer)
        ann.wait_for("* nothing was sent", "ann>")
    ann.paste(*FOUR)
    ann.press("\r")
    ann.wait_for("send these 4 lines? [y/N/view]")
    ann.press(INTERRUPT)
    ann.wait_for("ann>")
    ann.type("send five")
    assert ben.wait_for("MSG ann five") == ["JOINED ann"]


def test_pasted_control_characters_are_sanitized(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.paste("send \x1b]0;title\x07", "\x9b2J\u202edrow")
    ann.press("\r")
    assert ben.wait_for("MSG ann \ufffd2J\ufffddrow") == ["JOINED ann", "MSG ann ␛]0;title␇"]
    ann.wait_for("> send ␛]0;title␇", "> \ufffd2J\ufffddrow", "ann>")
    ann.type("leave")
    assert ann.wait_for_exit() == 0
    assert not HARMFUL.search(ann.raw.decode())
