"""A loss, a metric and a kind of component of its own, for Twinkle."""
