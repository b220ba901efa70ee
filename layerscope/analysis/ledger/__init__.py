"""Where every byte of a root is, and what comes back if things go away."""
