"""What stands around the content of a screen: header, frames, keys, lines to type in, states."""
