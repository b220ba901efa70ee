"""One file of a view, or one stored copy of it: its bytes, pages and lines, and how two copies differ."""
