"""Bytes into values: parsers that know nothing of docker and open no file."""
