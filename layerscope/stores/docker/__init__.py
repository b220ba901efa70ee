"""docker's own records, graph driver layout: ``image/<driver>``, ``containers``, ``volumes``."""
