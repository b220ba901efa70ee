"""Every entry of a root as rows, and what grew between two scans."""
