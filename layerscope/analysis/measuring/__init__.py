"""How much trees hold: the pool, those that help it, and sizes that are found by walking."""
