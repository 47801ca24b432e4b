"""Whether Redis is what MySQL is: its own SELECT, its own formatting, its own comparison."""
