"""The training server: HTTP in front, one engine behind."""
