"""Every store against a dict: whatever is done to both, they agree."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fedspan.errors import Conflict
from fedspan.stores.base import Delete, Key, Put, Stored
from fedspan.stores.dynamodb import DynamoStore


class AgainstADict(RuleBasedStateMachine):
    """Does to a store and to a dict the same, and compares."""

    def __init__(self, store, prefix):
        super().__init__()
        self.store = store
        self.prefix = prefix
        self.model = {}

    partitions = st.sampled_from(["p", "q"])
    names = st.sampled_from(["a", "B", "é", "\uffff", "😀"])
    expectations = st.integers(0, 3)
    changes = st.lists(
        st.tuples(partitions, names, st.none() | st.tuples(st.text(max_size=5), expectations)),
        max_size=4,
        unique_by=lambda change: change[:2],
    )

    @rule(changes=changes, right=st.booleans())
    def write(self, changes, right):
        wrote, kept = [], dict(self.model)
        wins = True
        for partition, sort, what in changes:
            key = Key(self.prefix + partition, sort)
            version = self.model.get(key, ("", 0))[1]
            if what is None:
                wrote.append(Delete(key))
                kept.pop(key, None)
                continue
            body, expected = what[0], version if right else what[1]
            wrote.append(Put(key, body, expected))
            kept[key] = (body, expected + 1)
            wins = wins and expected == version
        try:
            self.store.write(wrote)
        except Conflict:
            assert not wins
        else:
            assert wins
            self.model = kept

    @rule(
        partition=partitions, after=st.just("") | names, limit=st.integers(0, 3), down=st.booleans()
    )
    def list(self, partition, after, limit, down):
        beyond = [
            Stored(key, *there)
            for key, there in self.model.items()
            if key.partition == self.prefix + partition
            and (not after or (key.sort < after if down else key.sort > after))
        ]
        beyond.sort(key=lambda document: document.key.sort.encode(), reverse=down)
        found = self.store.list(
            self.prefix + partition, after=after, limit=limit, newest_first=down
        )

        assert [*found] == beyond[:limit]

    @invariant()
    def every_document_is_as_the_dict_says(self):
        for key, there in self.model.items():
            assert self.store.get(key) == Stored(key, *there)


def test_a_store_behaves_like_a_dict(store):
    prefixes = (f"{n}#" for n in range(10**6))
    run_state_machine_as_test(
        lambda: AgainstADict(store, next(prefixes)),
        settings=settings(
            max_examples=5 if isinstance(store, DynamoStore) else 40,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
