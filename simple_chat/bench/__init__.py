"""Load generator for chat servers: deliveries per second, latencies, CPU time, check of every delivery."""
