"""Answers: changes, sizes, blame, owners."""
