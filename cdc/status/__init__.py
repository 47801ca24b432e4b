"""Where a pipeline is, how far it lags, and whether it is right."""
