"""The conformance kit for authors of components."""
