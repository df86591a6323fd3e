"""A bot that greets new members and answers mentions of its name: python examples/bot.py [NAME]."""

import asyncio
import os
import sys

import simple_chat

SERVER = os.environ.get("SIMPLE_CHAT_SERVER_HOST") or "127.0.0.1"  # or HOST:PORT, or several


async def main(name: str) -> None:
    """Run until the server shuts down."""
    async with simple_chat.connect(SERVER, username=name) as chat:
        async for event in chat:
            match event:
                case simple_chat.Message(sender, text) if name in text:
                    await chat.send(f"{sender}, you said: {text}")
                case simple_chat.Joined(member):
                    await chat.send(f"welcome, {member}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "bot"))
