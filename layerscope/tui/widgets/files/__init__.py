"""Pane 3: the files of a stack."""
