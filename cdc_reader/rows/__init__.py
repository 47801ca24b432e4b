"""Turn rows of events and of SELECTs into message bodies."""
