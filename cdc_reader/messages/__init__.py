"""Messages on their way into the stream."""
