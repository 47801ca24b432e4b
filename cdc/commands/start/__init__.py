"""Commands from nothing to a running pipeline: init, check, run and its dry run."""
