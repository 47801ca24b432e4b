"""What acceptance and fault tests share: the pipeline as processes, a writer, the truth."""
