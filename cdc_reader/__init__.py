"""The reader: from MySQL's binlog to NATS JetStream."""
