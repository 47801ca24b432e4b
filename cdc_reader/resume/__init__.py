"""Find the position where a restart resumes."""
