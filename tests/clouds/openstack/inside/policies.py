"""The policies of a service that has no policy file."""

from __future__ import annotations

from oslo_policy.policy import Enforcer


def read_once() -> None:
    """oslo.policy looks for changed files and walks hundreds of rules at every question, of which a
    request has several: a third of what Nova does to list no servers. Here no file ever comes."""
    load_rules = Enforcer.load_rules

    def unless_loaded(self, force_reload=False):
        if force_reload or not self.registered_rules.keys() <= self.rules.keys():
            load_rules(self, force_reload)

    Enforcer.load_rules = unless_loaded
