"""The records of containers/storage, which podman, Buildah, CRI-O and skopeo share, and those of podman beside it."""
