"""What the sink reads and writes in NATS beside the messages."""
