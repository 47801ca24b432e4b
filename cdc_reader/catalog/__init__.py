"""Facts about the MySQL server and its tables, and the checks of them."""
