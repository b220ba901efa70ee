"""What all stores read records with: files that may be damaged, JSON that may not fit, the configs of images."""
