"""Images of a lab: committed, named, removed, and the config of each."""
