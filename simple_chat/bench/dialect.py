"""How a line protocol logs in and sends a message: all that the load generator knows of a server.

Pure.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    r"""The lines that log in and send a message.

    A delivered line must be the same bytes for all receivers and end with the text; senders must not receive
    their own. IRC servers meet this: ``Dialect("NICK {name}\r\nUSER {name} 0 * :x\r\n",
    "PRIVMSG #r :{text}\r\n", "JOIN #r\r\n")``.

    Args:
        login: template of the first bytes of a connection, with ``{name}``.
        message: template of a message, with ``{text}``.
        join: what enters the room after the login, repeated until it worked: a server may reject it while the
            login is not complete.
    """

    login: str
    message: str
    join: str = ""

    def encode_login(self, name: str) -> bytes:
        """Return the bytes that log in a user."""
        return self.login.format(name=name).encode()

    def encode_message(self, text: str) -> bytes:
        """Return the bytes that send a text."""
        return self.message.format(text=text).encode()


SIMPLE_CHAT = Dialect("JOIN {name}\n", "MSG {text}\n")
