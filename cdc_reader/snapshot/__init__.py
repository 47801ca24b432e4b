"""The snapshot: reading the rows that exist in a table."""
