"""Bytes of the binlog to events."""
