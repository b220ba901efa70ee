"""Images made of a Dockerfile, step by step, as docker's classic builder makes them."""
