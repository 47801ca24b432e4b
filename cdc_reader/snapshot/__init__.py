"""The rows that exist already."""
