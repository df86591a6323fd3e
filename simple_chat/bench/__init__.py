"""A load tool for chat servers: how many deliveries, how late, at what cost, and whether all are right."""
