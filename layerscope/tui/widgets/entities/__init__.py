"""Pane 1: containers and images."""
