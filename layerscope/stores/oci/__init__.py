"""OCI content, in a containerd root or in an image layout: indexes, manifests, configs, and the blobs they name."""
