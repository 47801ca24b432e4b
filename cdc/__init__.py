"""What both sides agree on, and the command: message, position, settings, errors, stream, cli."""
