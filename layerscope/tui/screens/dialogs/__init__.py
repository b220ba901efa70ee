"""Dialogs that come before something is written: one module a subject."""
