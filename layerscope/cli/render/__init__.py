"""Values to text and JSON. Nothing here opens a root or writes a stream."""
