"""Opening a root: which store, driver and dialect it has, and what lies outside of it."""
