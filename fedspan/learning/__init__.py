"""Tensors: models built, trained, measured, packed for the wire, stored and exported.

Only here do numpy and torch appear; torch is imported by the modules that cannot do without.
Nothing here knows Flower, a cloud or a clock.
"""
