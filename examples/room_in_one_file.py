"""A server and two clients in one program."""

import asyncio

import simple_chat


async def main() -> None:
    """Send a message from ann to ben."""
    async with simple_chat.serve("127.0.0.1", 0) as server:
        host, port = server.address
        async with (
            simple_chat.connect(host, port, username="ann") as ann,
            simple_chat.connect(host, port, username="ben") as ben,
        ):
            await ann.send("hello, everybody")
            async for event in ben:
                if isinstance(event, simple_chat.Message):
                    print(f"{event.name}: {event.text}")
                    break


asyncio.run(main())
