"""The command line: verbs, options, and how answers look as text and as JSON. Computes nothing itself."""
