"""What can go wrong, as a small tree of exceptions."""


class ChatError(Exception):
    """The root: catching it catches everything this package raises on purpose."""


class LineRefusedError(ChatError):
    """A line can't be carried out; its sender is answered ``ERR``.

    Args:
        code: why, one of `simple_chat.protocol.Code`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ListenError(ChatError):
    """The server can't listen at an address it was given; the message says where and why."""
