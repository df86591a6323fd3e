"""One room on several servers, replicated through a NATS JetStream stream."""
