"""Messages to Redis commands: pure decisions."""
