"""The Disk screen: where every byte is, and what could go."""
