"""Fedspan: federated learning that spans clouds.

The package is layered; every import points inward (``lint-imports`` proves it):

    cli, local       the ``fedspan`` command and the embedded default
    wiring, flower   which parts are real; the Flower side of aggregator and client
    services, app    one use case a file, and all that a use case may touch
    learning         tensors: building, training and exporting models
    stores, objects, providers, executions, access     edges: each only translates
    domain, errors   pure values and rules
"""

__version__ = "0.1.0"
