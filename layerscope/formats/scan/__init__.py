"""Scans of a root, written and read: the native file, and parquet."""
