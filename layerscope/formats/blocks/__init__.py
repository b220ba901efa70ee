"""Bytes at an offset: devices, images, compressed files; which file system they hold."""
