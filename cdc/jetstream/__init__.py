"""The one connection to NATS, and what cdc keeps there."""
