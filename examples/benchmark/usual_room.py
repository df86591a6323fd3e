"""A chat room as it is usually written, to compare with: asyncio streams, and a write a message and member.

No limits, no answers, no care for who reads too slowly: python examples/benchmark/usual_room.py PORT.
"""

import asyncio
import sys

members: dict[asyncio.StreamWriter, str] = {}


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one user."""
    try:
        async for line in reader:
            verb, _, argument = line.decode().rstrip().partition(" ")
            if verb == "JOIN":
                members[writer] = argument
            elif verb == "MSG":
                text = f"MSG {members[writer]} {argument}\n".encode()
                for member in members:
                    if member is not writer:
                        member.write(text)
    except OSError:  # the user is gone
        pass
    finally:
        members.pop(writer, None)
        writer.close()


async def main(port: int) -> None:
    """Listen."""
    async with await asyncio.start_server(talk, "127.0.0.1", port, backlog=4096) as server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
