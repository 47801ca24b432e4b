"""All that talks to Redis."""
