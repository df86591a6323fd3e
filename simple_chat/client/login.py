"""The name and the password to join with: configured, or asked for until the server accepts them."""

import signal
import sys
from collections.abc import Callable

from simple_chat.client.auth import ENVIRONMENT_VARIABLE, prompt_password
from simple_chat.core.codes import Code
from simple_chat.core.text import is_name, name_problem
from simple_chat.errors import InvalidMessageError, JoinRefusedError

_PASSWORD_ATTEMPTS = 3

_Refusal = JoinRefusedError | InvalidMessageError


class Login:
    """What to join with.

    Args:
        username: None to ask for it.
        password: None if there is none, as far as is known.
        can_ask: whether there is somebody to ask, at a terminal.
        report: tells the user why something is asked for again.

    Attributes:
        username: to join under.
        password: to send; None for none.
    """

    def __init__(
        self,
        username: str | None,
        password: str | None,
        *,
        can_ask: bool,
        report: Callable[[Exception], None],
    ) -> None:
        self._report = report
        self._asks_name = username is None
        self._password_prompts = _PASSWORD_ATTEMPTS if can_ask and password is None else 0
        self.username = self._prompt_username() if username is None else username
        self.password = password

    def ask_again(self, error: _Refusal, server: str) -> None:
        """Ask for what may be the reason of a refusal, or raise the error if it can't be that.

        Args:
            error: the server's, or that the password can't be sent.
            server: its address.
        """
        code = error.code if isinstance(error, JoinRefusedError) else Code.AUTH_FAILED
        refusal = self._explain(error)
        if self._asks_name and code in {Code.NAME_TAKEN, Code.BAD_NAME}:
            self._report(refusal)
            self.username = self._prompt_username()
        elif self._password_prompts and code in {Code.AUTH_REQUIRED, Code.AUTH_FAILED}:
            if self.password is not None:
                self._report(refusal)
            self._password_prompts -= 1
            self.password = prompt_password(server)
        else:
            raise refusal from error

    def _explain(self, error: _Refusal) -> _Refusal:
        """Return the error with advice for users of the client: the server's is for those of nc."""
        match error:
            case JoinRefusedError(code=Code.NAME_TAKEN):
                advice = "" if self._asks_name else ", choose another by --username"
                return _refusal(error, f"the name {self.username!r} is taken{advice}")
            case JoinRefusedError(code=Code.BAD_NAME):
                return _refusal(error, f"{self.username!r}: {error.advice}")
            case JoinRefusedError(code=Code.AUTH_REQUIRED) if self.password is None:
                where = f"{ENVIRONMENT_VARIABLE} or --password-file PATH"
                return _refusal(error, f"the server requires a password: {where}")
        return error

    def _prompt_username(self) -> str:
        while True:
            try:
                name = input("Your name in the room: ").strip()
            except UnicodeDecodeError as error:
                name = error.object.decode(errors="surrogateescape").strip()
            except (EOFError, KeyboardInterrupt):
                sys.stdout.write("\n")
                sys.exit(128 + signal.SIGINT)
            if is_name(name):
                return name
            self._report(JoinRefusedError(Code.BAD_NAME, name_problem(name)))


def _refusal(error: JoinRefusedError, advice: str) -> JoinRefusedError:
    return JoinRefusedError(error.code, advice)
