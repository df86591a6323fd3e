"""The client: an API for programs, and the command line that is built on it."""
