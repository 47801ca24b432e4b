"""What MySQL says about itself and its tables."""
