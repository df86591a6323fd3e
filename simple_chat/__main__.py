"""``python -m simple_chat``: says how to start the programs."""

import sys
from collections.abc import Sequence

import simple_chat

_PROGRAMS = """\
simple_chat has two programs, server and client. Start one of them; each has --help:

  python -m simple_chat.server                    or  simple-chat-server
  python -m simple_chat.client --username NAME    or  simple-chat --username NAME"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how to start the programs.

    Args:
        arguments: the command line; None for ``sys.argv``.

    Returns:
        The exit status: 0 for --help and --version, else 2, as this is no program.
    """
    match sys.argv[1:] if arguments is None else [*arguments]:
        case ["--version"]:
            print(f"simple_chat {simple_chat.__version__}")
        case ["-h" | "--help"]:
            print(_PROGRAMS)
        case _:
            print(_PROGRAMS, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
