"""The command line ``twinkle``: one file a command group."""
