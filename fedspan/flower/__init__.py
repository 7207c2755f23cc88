"""Flower, as Fedspan runs it: what happens on an aggregator's and on a client's machine.

``supervisor`` and ``agent`` are the programs of the two machines; ``warm``, ``workers`` and
``internals`` start Flower's processes without paying a Python start for each message; ``front``
lets only the Fleet API out; ``server`` is our ServerApp, with ``grid``, ``strategies``,
``folding`` and ``checkpoints`` below it, and ``client`` our ClientApp.
"""
