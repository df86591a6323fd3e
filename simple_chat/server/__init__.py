"""The server: listeners and connections around the room."""
