"""Scripts that run beside a benchmark, each in a process of its own, with the packages of a peer."""
