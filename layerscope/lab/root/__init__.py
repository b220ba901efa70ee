"""Lab roots: made, opened for writing, changed in steps that can be interrupted, and swept."""
