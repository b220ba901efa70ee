"""Containers that were created and never started: their layers, records, volumes, and files into them."""
