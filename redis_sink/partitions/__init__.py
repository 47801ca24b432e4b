"""Which sink applies which partition."""
