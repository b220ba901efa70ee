"""containerd's records, alone or as the image store of docker."""
