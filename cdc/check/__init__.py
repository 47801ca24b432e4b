"""What `cdc check` asks of the three servers, and what it answers."""
