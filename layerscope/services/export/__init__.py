"""Files out of a view: all as a tar, one path as a tar, or onto a disk."""
