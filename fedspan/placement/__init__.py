"""Where an aggregator goes: the best region, machine, purchase option and network tier for
these participants, and why.

Pure: values in, values out, no clock, no files, no network. NumPy does every candidate at once;
there are about fourteen thousand, so the optimum is exact and takes milliseconds.

``book`` holds the facts (prices, regions, egress, measured RTTs), ``candidates`` a row for each
place they allow; ``federation``, ``latency``, ``duration``, ``makespan``, ``cost`` and
``evaluation`` say what a candidate means for these participants; ``constraints`` drops what a
person ruled out; ``front`` scores and orders the rest; ``replay`` and ``stability`` say how sure
that is; ``explain`` and ``assumptions`` say it in words; ``choose`` puts them together. ``offers``
makes a book of what providers offer just now, ``revision`` one of newer prices. ``purchasing``
decides, while a job runs, how long its aggregator stays on spot.
"""
