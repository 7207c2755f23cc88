"""A real OpenStack control plane on loopback ports."""
