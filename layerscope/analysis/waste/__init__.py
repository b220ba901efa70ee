"""What is stored for nothing: hidden copies, content that is stored twice, and what to do about it."""
