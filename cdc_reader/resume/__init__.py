"""Where a restart resumes."""
