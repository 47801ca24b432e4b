"""Turn bytes of the binlog into events."""
