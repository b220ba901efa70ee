"""Image archives: a tar as ``docker save`` writes it, or an OCI layout as a tar or a folder."""
