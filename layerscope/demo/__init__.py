"""What `layerscope demo` shows: a story told in text, and the root that the lab's engine makes of it."""
