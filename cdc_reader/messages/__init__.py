"""Messages and flushes before they enter the stream."""
