"""Every damaged or inconsistent record: recognised, explained, with a repair."""
