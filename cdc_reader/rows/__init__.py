"""Rows of events and of SELECTs to message bodies."""
