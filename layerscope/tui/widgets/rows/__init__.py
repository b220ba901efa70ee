"""Lists and trees of any length: a flat list of rows, of which only those on the screen are drawn."""
