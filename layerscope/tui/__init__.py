"""The terminal UI: themes, glyphs, keys, widgets and screens. Imports services and below, never the command line."""
