"""A month in production, played in minutes."""
