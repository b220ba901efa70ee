"""One file to read: as text, as bytes, as a JSON tree."""
