"""Commands from nothing to a running pipeline: check, run and its dry run."""
