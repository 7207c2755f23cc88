"""Flower's strategies by name, and what each may be told.

The names and options are Flower's own (``flwr.serverapp.strategy``); a test holds this table
against the signatures of the installed version. It stands here because a Lambda that checks a
job spec cannot carry Flower's 277 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fedspan.domain.parsing import nearest

STRATEGIES: Final[Mapping[str, tuple[str, frozenset[str]]]] = {
    "fedavg": ("FedAvg", frozenset()),
    "fedavgm": ("FedAvgM", frozenset({"server_learning_rate", "server_momentum"})),
    "fedprox": ("FedProx", frozenset({"proximal_mu"})),
    "fedadam": ("FedAdam", frozenset({"eta", "eta_l", "beta_1", "beta_2", "tau"})),
    "fedyogi": ("FedYogi", frozenset({"eta", "eta_l", "beta_1", "beta_2", "tau"})),
    "fedadagrad": ("FedAdagrad", frozenset({"eta", "eta_l", "tau"})),
    "fedmedian": ("FedMedian", frozenset()),
    "fedtrimmedavg": ("FedTrimmedAvg", frozenset({"beta"})),
    "krum": ("Krum", frozenset({"num_malicious_nodes"})),
    "multikrum": ("MultiKrum", frozenset({"num_malicious_nodes", "num_nodes_to_select"})),
    "bulyan": ("Bulyan", frozenset({"num_malicious_nodes"})),
    "qfedavg": ("QFedAvg", frozenset({"client_learning_rate", "q"})),
}
"""Spec name: (Flower's class, the options of its own beside those all share)."""

SHARED: Final[frozenset[str]] = frozenset({"fraction_train", "fraction_evaluate"})
"""Options of every strategy that a job may set; the minimums of nodes follow from the quorum."""

AVERAGING: Final[frozenset[str]] = frozenset(
    {"fedavg", "fedavgm", "fedprox", "fedadam", "fedyogi", "fedadagrad"}
)
"""Strategies that see the replies only through their weighted mean, so replies can be folded
into it one by one, and the aggregator's memory does not grow with the number of participants."""

REQUIRED: Final[Mapping[str, frozenset[str]]] = {"qfedavg": frozenset({"client_learning_rate"})}


def check_strategy(name: str, options: Mapping[str, float]) -> None:
    """Raise `ValueError` unless Flower has strategy `name` and it takes `options`."""
    if name not in STRATEGIES:
        raise ValueError(f"strategy {name!r} is not known{nearest(name, STRATEGIES)}")
    allowed = STRATEGIES[name][1] | SHARED
    for option in options:
        if option not in allowed:
            raise ValueError(f"strategy {name} has no option {option!r}{nearest(option, allowed)}")
    for option in sorted(REQUIRED.get(name, frozenset()) - options.keys()):
        raise ValueError(f"strategy {name} needs the option {option!r}")
    for option in SHARED & options.keys():
        if not 0 < options[option] <= 1:
            raise ValueError(f"strategy option {option} lies in (0, 1], got {options[option]}")
