"""Built-in components: plugins like any other, a folder a kind."""
