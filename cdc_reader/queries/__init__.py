"""Queries of the commands to MySQL: status, tail and dry run."""
