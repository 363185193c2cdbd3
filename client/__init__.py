"""The client of the training server; needs no torch."""
