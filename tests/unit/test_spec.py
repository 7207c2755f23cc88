"""The job spec: every fault named, and what is right comes back from JSON as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspan.domain.parsing import nearest, parsed
from fedspan.domain.seeds import derive
from fedspan.domain.spec import JobSpec, seconds
from fedspan.errors import InvalidRequest
from tests.support.world import spec, spec_document


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": 0}, "rounds: input should be greater than 0, got 0"),
        ({"rounds": -3}, "rounds: input should be greater than 0, got -3"),
        ({"rounds": "ten"}, "rounds: input should be a valid integer"),
        ({"participants": []}, "participants: must not be empty"),
        ({"participants": ["a", "b", "a"]}, "participants: a is named twice"),
        ({"participants": ["Seoul"]}, "participants.0: string should match pattern"),
        ({"quorum": 4}, "quorum: 4 is more than the 3 participants"),
        ({"selection": {"metric": "f2"}}, "'f2' is not known; known: accuracy, f1, precision"),
        ({"selection": {"metric": "recal"}}, "did you mean 'recall'?"),
        ({"selection": {"at_least": 1.5}}, "selection.at_least: input should be less than"),
        ({"strategy": {"name": "fedagv"}}, "did you mean 'fedavg'?"),
        ({"strategy": {"name": "fedprox", "proximalmu": 1}}, "did you mean 'proximal_mu'?"),
        ({"strategy": {"name": "qfedavg"}}, "needs the option 'client_learning_rate'"),
        ({"strategy": {"name": "fedavg", "fraction_train": 0}}, "fraction_train lies in (0, 1]"),
        ({"model": {}}, "needs exactly one of `layers` and `file`"),
        ({"model": {"layers": []}}, "`layers` is empty"),
        ({"model": {"layers": [{"linaer": 3}]}}, "did you mean 'linear'?"),
        ({"model": {"layers": [{"linear": 2}], "file": "m.pt2"}}, "needs exactly one of"),
        ({"roundz": 3}, "roundz: unknown key; did you mean 'rounds'?"),
        ({"aggregator": {"nede": {}}}, "aggregator.nede: unknown key; did you mean 'need'?"),
        ({"aggregator": {"need": {"cpus": 2}}}, "aggregator.need.cpus: unknown key; did you"),
        ({"training": {"optimizer": "adm"}}, "'adm' is not known; did you mean 'adam'?"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate: input should be greater"),
        (
            {"training": {"learning_rate": float("inf")}},
            "training.learning_rate: input should be a",
        ),
        ({"limits": {"deadline": "2 hours"}}, "'2 hours' is no duration; write 90s, 10m, 2h"),
        ({"limits": {"budget_usd": -1}}, "limits.budget_usd: input should be greater than 0"),
        ({"data": {"dataset": "d", "holdout": 1}}, "data.holdout: input should be less than 1"),
        ({"notify": [{"webhook": "ftp://x"}]}, "is no address; write https://host/path"),
        ({"notify": [{"webhook": "http://["}]}, "notify.0.webhook"),
        ({"limits": {"deadline": "60d"}}, "limits.deadline: input should be less than or equal"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0"),
    ],
)
def test_a_fault_is_named_with_what_would_be_right(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        spec(**changes)
    assert said in str(caught.value)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        spec(rounds=0, roundz=1, selection={"metric": "f2"})
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("missing", ["name", "rounds", "participants", "model", "data"])
def test_what_is_required_is_said_to_be(missing: str) -> None:
    document = spec_document()
    del document[missing]

    with pytest.raises(InvalidRequest, match=f"{missing}: is required"):
        parsed(JobSpec, document)


@given(
    st.fixed_dictionaries(
        {
            "rounds": st.integers(1, 10_000),
            "seed": st.integers(0, 2**63 - 1),
            "strategy": st.sampled_from(
                [{"name": "fedavg"}, {"name": "fedadam", "eta": 0.02}, {"name": "krum"}]
            ),
            "limits": st.fixed_dictionaries(
                {
                    "budget_usd": st.floats(0.01, 1e6),
                    "deadline": st.sampled_from(["90s", "2h", 12.5]),
                }
            ),
        }
    )
)
def test_a_spec_comes_back_from_json_as_it_was(changes: dict[str, Any]) -> None:
    before = spec(**changes)

    assert JobSpec.model_validate_json(before.model_dump_json()) == before


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86_400), (7, 7)]
)
def test_durations_are_seconds(text: object, value: float) -> None:
    assert seconds(text) == value


def test_the_nearest_word_is_offered_or_all_of_them() -> None:
    assert nearest("acuracy", ["accuracy", "f1"]) == "; did you mean 'accuracy'?"
    assert nearest("zzz", ["accuracy", "f1"]) == "; known: accuracy, f1"
    assert nearest("zzz", []) == ""


@given(st.integers(0, 2**63 - 1), st.text(max_size=8), st.integers(0, 10**6))
def test_derived_seeds_are_63_bits_and_differ_by_their_path(seed: int, who: str, n: int) -> None:
    assert 0 <= derive(seed, "train", n, who) < 2**63
    assert derive(seed, "train", n, who) == derive(seed, "train", n, who)
    assert derive(seed, "train", n, who) != derive(seed, "train", n + 1, who)
