"""How a line protocol logs in and says something: all that the load tool knows of a server.

Pure.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    r"""How to log in and to say something.

    What others get must be the same bytes for all of them and end with the text, and senders must not get
    their own. IRC servers do it as well: ``Dialect("NICK {name}\r\nUSER {name} 0 * :x\r\n",
    "PRIVMSG #r :{text}\r\n", "JOIN #r\r\n")``.

    Args:
        login: what a connection sends first, with ``{name}`` in it.
        say: a message, with ``{text}`` in it.
        enter: what it sends then to enter the room, again and again until it is in there: a server may
            refuse it as long as it is not done with the login.
    """

    login: str
    say: str
    enter: str = ""

    def log_in(self, name: str) -> bytes:
        """Write what logs a user in."""
        return self.login.format(name=name).encode()

    def line(self, text: str) -> bytes:
        """Write what says a text."""
        return self.say.format(text=text).encode()


SIMPLE_CHAT = Dialect("JOIN {name}\n", "MSG {text}\n")
