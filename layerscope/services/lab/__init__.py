"""Labs: roots that may be written to, and everything that can be done in them."""
