"""The engines' records: images, references, layers, containers, volumes."""
