"""What differs: between two views, as docker's diff and podman's tell it, and line by line."""
