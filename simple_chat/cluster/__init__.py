"""One room on several servers: its log is a stream in NATS JetStream."""
