"""Tars, to the byte: headers as Go reads and writes them, streams, sparse files, and docker's record of a tar."""
