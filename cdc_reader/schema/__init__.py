"""What a change of the schema means for captured tables."""
