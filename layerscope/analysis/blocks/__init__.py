"""The blocks of thin devices: who wrote them, who shares them, which files they belong to."""
