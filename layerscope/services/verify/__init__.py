"""Layers and blobs held against their records."""
