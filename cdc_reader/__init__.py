"""MySQL binlog to NATS JetStream."""
