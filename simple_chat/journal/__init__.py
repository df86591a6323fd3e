"""Where the room's sequence is kept: in memory only, or in files that outlive the server."""
