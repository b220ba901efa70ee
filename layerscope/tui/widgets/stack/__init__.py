"""Pane 2: the layer stack to scale, and that of an image to be."""
