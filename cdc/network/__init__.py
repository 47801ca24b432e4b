"""What every connection shares: options, and why one could not be made."""
