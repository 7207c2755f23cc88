"""The `fedspan` command: it reads what a person asks for, speaks to the REST API, and shows.

Every command takes ``--home`` and ``--json``. With the latter one JSON document goes to stdout
and nothing else; progress and errors go to stderr. What is heavy (PyTorch, moto, SDKs) is
imported by the command that needs it.
"""
