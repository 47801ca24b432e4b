"""Events to messages, and messages into the stream."""
