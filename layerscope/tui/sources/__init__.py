"""What the lists of the terminal UI show, made from the session's values. Knows nothing of screens."""
