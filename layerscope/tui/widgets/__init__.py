"""The widgets. Each owns its messages and holds only cursor, scroll and fold; what it shows comes from outside."""
