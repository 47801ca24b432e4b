"""What commands ask this side."""
