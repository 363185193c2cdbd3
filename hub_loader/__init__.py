"""Components from a hub or a folder: fetched, verified, approved, then loaded."""
