"""Names in all levels of many stacks, and what becomes of each."""
