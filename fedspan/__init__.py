"""Fedspan: federated learning that spans clouds.

The package is layered; every import points inward (``lint-imports`` proves it):

    cli              the ``fedspan`` command
    local            the embedded default: everything on one machine
    wiring, flower   which parts are real; the Flower side of aggregator and client
    services         one use case a file
    app, absent      all that a use case may touch; parts an installation does without
    learning         tensors: building, training and exporting models
    stores, objects, providers, executions, keys, prices, access     edges: each only translates
    placement        where a job runs best, by the book of prices
    settings, edge, logs, late, probing, extras     what a process is told, says and waits for
    domain, errors   pure values and rules
"""

__version__ = "0.1.0"
