"""Type rules and meaning of the op records."""
