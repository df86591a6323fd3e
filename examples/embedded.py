"""A server inside a program of your own: it runs for as long as the block does."""

import asyncio

import simple_chat


async def main() -> None:
    """Run a room and say where it is."""
    async with simple_chat.serve("127.0.0.1", 0, settings=simple_chat.Settings(history=100)) as server:
        host, port = server.address
        print(f"try: nc {host} {port}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
