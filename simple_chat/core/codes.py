"""The codes of ERR: why a line or a connection is refused, and what to do next."""

from enum import StrEnum


class Code(StrEnum):
    """Why a line or a connection is refused: the first word of an ``ERR``."""

    UNKNOWN_COMMAND = "unknown-command"
    BAD_SYNTAX = "bad-syntax"
    BAD_NAME = "bad-name"
    NAME_TAKEN = "name-taken"
    ALREADY_JOINED = "already-joined"
    NOT_JOINED = "not-joined"
    EMPTY_MESSAGE = "empty-message"
    LINE_TOO_LONG = "line-too-long"
    NOT_UTF8 = "not-utf8"
    INCOMPLETE_LINE = "incomplete-line"
    AUTH_REQUIRED = "auth-required"
    AUTH_FAILED = "auth-failed"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    TOO_MANY_ERRORS = "too-many-errors"
    JOIN_TIMEOUT = "join-timeout"
    NOT_CHAT = "not-chat"
    KICKED = "kicked"
    BANNED = "banned"
    BUSY = "busy"

    @property
    def advice(self) -> str:
        """What to do next, for people."""
        return _ADVICE[self]


_ADVICE = {
    Code.UNKNOWN_COMMAND: "no such command: MSG <text> says something, HELP lists all there is",
    Code.BAD_SYNTAX: "an argument is missing or out of place, HELP shows how it is written",
    Code.BAD_NAME: "a name is 1 to 32 of A-Z a-z 0-9 . _ - and begins with a letter or a digit",
    Code.NAME_TAKEN: "somebody here has that name, JOIN with another one",
    Code.ALREADY_JOINED: "you are in the room, LEAVE before you JOIN again",
    Code.NOT_JOINED: "JOIN <name> first",
    Code.EMPTY_MESSAGE: "write something after MSG and a space",
    Code.LINE_TOO_LONG: "the line was dropped, send shorter ones",
    Code.NOT_UTF8: "the line was dropped, send UTF-8",
    Code.INCOMPLETE_LINE: "the last line had no line end and was not carried out",
    Code.AUTH_REQUIRED: "there is a password here, PASS <secret> first",
    Code.AUTH_FAILED: "that is not the password",
    Code.TOO_MANY_CONNECTIONS: "there is no room for another connection, try again later",
    Code.TOO_MANY_ERRORS: "none of that was a command, HELP lists all there is",
    Code.JOIN_TIMEOUT: "nobody joined, come back and JOIN sooner",
    Code.NOT_CHAT: "this is a chat server, its clients are nc, telnet and simple_chat.client",
    Code.KICKED: "an operator has ended this connection",
    Code.BANNED: "an operator has banned you",
    Code.BUSY: "this was not sent, the room can't take it now: try again later",
}
