"""Turn events into messages, and publish them to the stream."""
