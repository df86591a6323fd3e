"""The room's sequence on disk: a sink for batches, and what is recovered from it at start."""
