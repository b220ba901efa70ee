"""Layers in the making: from members of a tar to files, and from files to the members of a tar."""
