"""One layer compared with its record: bytes, metadata, and what no record names."""
