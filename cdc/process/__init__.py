"""The processes of `cdc run`."""
