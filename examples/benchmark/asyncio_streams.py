"""A chat room as tutorials write it, for comparison: asyncio streams, one write per message and member.

No limits, no error replies, no backpressure: python examples/benchmark/asyncio_streams.py PORT.
"""

import asyncio
import sys

members: dict[asyncio.StreamWriter, str] = {}


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until it ends."""
    try:
        async for line in reader:
            verb, _, argument = line.decode().rstrip().partition(" ")
            if verb == "JOIN":
                members[writer] = argument
            elif verb == "MSG":
                message = f"MSG {members[writer]} {argument}\n".encode()
                for member in members:
                    if member is not writer:
                        member.write(message)
    except OSError:  # reset by the client
        pass
    finally:
        members.pop(writer, None)
        writer.close()


async def main(port: int) -> None:
    """Listen until the program is ended."""
    async with await asyncio.start_server(serve_client, "127.0.0.1", port, backlog=4096) as server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
