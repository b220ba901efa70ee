"""The blocks of a thin device."""
