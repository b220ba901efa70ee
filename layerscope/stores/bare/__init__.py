"""An overlay without an engine: directories that mount(8) was, or would be, given."""
