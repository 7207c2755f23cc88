"""The job spec: every fault named, and what is right comes back from JSON as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedspan.domain.parsing import MOST_LISTED, MOST_SEARCHED, nearest, parsed, refused
from fedspan.domain.placements import PlacementQuestion
from fedspan.domain.seeds import derive
from fedspan.domain.spec import MOST_PARTICIPANTS, JobSpec, seconds, step_of, unit_of, written
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
        ({"model": {}}, "needs exactly one of `layers`, `file` and `app`"),
        ({"model": {"layers": []}}, "`layers` is empty"),
        (
            {"model": {"app": "./app"}, "strategy": {"name": "fedadam"}},
            "strategy: is the app's own; leave it out",
        ),
        (
            {"model": {"app": "./app"}, "training": {"batch_size": 8}},
            "training: is the app's own; leave it out",
        ),
        ({"model": {"file": "m.pt2", "config": {"a": 1}}}, "is that of an `app`, and there is"),
        (
            {"model": {"app": "./app", "config": {"num-server-rounds": 3}}},
            "config.num-server-rounds is the job's `rounds`",
        ),
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
        ({"limits": {"deadline": "60d"}}, "limits.deadline: must be at most 7 days, got 60 days"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0"),
        ({"rounds": 10**6 + 1}, "rounds: input should be less than or equal to 1000000"),
        (
            {"placement": {"checkpoint_every": 10**6 + 1}},
            "placement.checkpoint_every: input should be less than or equal to 1000000",
        ),
        (
            {"placement": {"model_bytes": 10**13 + 1}},
            "placement.model_bytes: input should be less than or equal to 10000000000000",
        ),
        (
            {"placement": {"egress_used_gb": {"aws": 1e9 + 1}}},
            "placement.egress_used_gb.aws: input should be less than or equal to 1000000000",
        ),
        (
            {"placement": {"egress_used_gb": {"aws": -1}}},
            "placement.egress_used_gb.aws: input should be greater than or equal to 0",
        ),
        (
            {"placement": {"egress_used_gb": {"aws": float("nan")}}},
            "placement.egress_used_gb.aws: input should be a",
        ),
        ({"aggregator": {"need": {"vcpus": 10**9 + 1}}}, "aggregator.need.vcpus: input should be"),
        ({"aggregator": {"need": {"memory_mib": 10**9 + 1}}}, "aggregator.need.memory_mib: input"),
        (
            {"aggregator": {"need": {"gpu": {"count": 10**6 + 1}}}},
            "aggregator.need.gpu.count: input should be less than or equal to 1000000",
        ),
        (
            {"participants": [f"site-{n}" for n in range(MOST_PARTICIPANTS + 1)]},
            "participants: has more than 10,000 entries",
        ),
        (
            {"participants": [f"site-{n:02}" for n in range(15)] * 2},
            "site-08, site-09 and 5 more is named twice",
        ),
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


def test_of_many_known_words_only_the_nearest_is_told() -> None:
    some = [f"word-{n:04}" for n in range(MOST_LISTED + 1)]

    assert nearest("zzz", some) == ""
    assert nearest("wrod-0003", some) == "; did you mean 'word-0003'?"
    assert nearest("wrod-0003", [f"word-{n:04}" for n in range(MOST_SEARCHED + 1)]) == ""
    assert nearest("word-0003" * 100_000, some) == ""


def test_of_many_faults_the_first_are_told_and_only_they_are_put_in_words() -> None:
    asked = []

    def sentence(fault: int) -> str:
        asked.append(fault)
        return f"rounds: {fault} is wrong"

    assert refused(range(20), sentence).problems[-1] == "rounds: 19 is wrong"
    asked.clear()
    problems = refused(range(10_000), sentence).problems

    assert asked == list(range(20))
    assert problems[-2:] == ("rounds: 19 is wrong", "and 9,980 more")


def test_an_answer_to_a_question_that_is_wrong_ten_thousand_times_is_short() -> None:
    wrong = {"name": "Seoul!", "latitude": 91, "longitude": "x", "country": "x" * 300, "k" * 999: 1}
    with pytest.raises(InvalidRequest) as caught:
        parsed(PlacementQuestion, {"rounds": 1, "participants": [wrong] * MOST_PARTICIPANTS})

    assert len(caught.value.problems) == 21
    assert caught.value.problems[20] == "and 49,980 more"
    assert len(str(caught.value)) < 20_000


@pytest.mark.parametrize(
    "changes",
    [
        {"x" * 10**6: 1},
        {"aggregator": {"purchase": "x" * 10**6}},
        {"data": {"dataset": "x" * 10**6}},
        {"notify": [{"webhook": "x" * 10**6}]},
    ],
)
def test_what_is_long_is_not_repeated(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        spec(**changes)

    assert len(str(caught.value)) <= 2_000


@given(st.integers(0, 2**63 - 1), st.text(max_size=8), st.integers(0, 10**6))
def test_derived_seeds_are_63_bits_and_differ_by_their_path(seed: int, who: str, n: int) -> None:
    assert 0 <= derive(seed, "train", n, who) < 2**63
    assert derive(seed, "train", n, who) == derive(seed, "train", n, who)
    assert derive(seed, "train", n, who) != derive(seed, "train", n + 1, who)


@pytest.mark.parametrize(
    ("value", "unit"), [(90, "s"), (600, "m"), (5400, "m"), (7200, "h"), (172_800, "d"), (0.5, "s")]
)
def test_a_duration_is_told_in_the_unit_it_was_written_in(value, unit):
    assert unit_of(value) == unit


@given(st.sampled_from("smhd"), st.integers(1, 10_000))
def test_a_duration_that_is_told_can_be_written(unit, steps):
    value = steps * step_of(unit)

    assert seconds(written(value, unit)) == value
