"""Pure values and rules. Would read the same if every cloud disappeared: no clock, no I/O."""
