"""Image archives: what one holds, images out of it, and images into one."""
