"""Roots of our own: made, changed and committed by layerscope itself."""
