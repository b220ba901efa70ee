"""Pane 4: the life of one path, and its copies side by side."""
