"""Everything that a root holds, as rows of one file; and what differs between two such files."""
