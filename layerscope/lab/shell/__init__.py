"""The small shell of file commands: its words, its commands, and what runs them."""
