"""What machines cost, from the clouds' own public interfaces.

A source reads and translates; it neither judges (`fedspan.placement.revision` does) nor writes.
Every request is bounded: in time, in tries, in bytes and in pages.
"""
