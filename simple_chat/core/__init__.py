"""The pure core: lines, the room and its conversations, without socket, file, clock or event loop."""
