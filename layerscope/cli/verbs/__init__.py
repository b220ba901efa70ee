"""The verbs, one module for each group of them; the table of all is in :mod:`layerscope.cli.main`."""
