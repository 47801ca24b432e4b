"""What `cdc init` writes: the settings file, and what is decided for each table."""
