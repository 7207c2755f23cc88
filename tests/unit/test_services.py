"""Use cases on memory parts and a fixed clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from fedspan.app import App
from fedspan.domain.jobs import ENDED, MOVES, Job, JobState, Progress, move
from fedspan.domain.machines import Machine, MachineSpec
from fedspan.domain.reports import AppLink, Desired, Fault, Phase
from fedspan.domain.rounds import AppRound, Participation, Round, Status
from fedspan.domain.selection import Selection
from fedspan.domain.sites import Site
from fedspan.domain.spec import Metric, SelectionSpec
from fedspan.domain.waits import Assignment, Until
from fedspan.errors import (
    Conflict,
    IllegalMove,
    InvalidModel,
    InvalidRequest,
    JobCancelled,
    NoCapacity,
    NotFound,
    ProviderError,
    StaleEpoch,
    Throttled,
)
from fedspan.providers.memory import MemoryProvider
from fedspan.services import ending, keep, steps, sweep, waits
from fedspan.services.cancel import cancel, delete
from fedspan.services.changes import Step, change
from fedspan.services.examine import app_key
from fedspan.services.report_aggregator import report_aggregator
from fedspan.services.report_site import report_site
from fedspan.services.resume import resume, still_carries
from fedspan.services.sites import delete_site, register_site
from fedspan.services.submit import submit
from fedspan.stores.base import Put
from tests.support.world import (
    Clock,
    World,
    a_round,
    aggregator_says,
    dataset,
    launched,
    lose,
    site_says,
    spec,
    training,
    with_sites,
    world,
)


@pytest.fixture
def here(tmp_path: Path) -> World:
    made = world(tmp_path)
    with_sites(made.app)
    return made


class TestLifecycle:
    def test_every_state_has_a_row_and_can_reach_an_end(self) -> None:
        assert set(MOVES) == set(JobState)
        for state in JobState:
            seen, queue = set(), [state]
            while queue:
                at = queue.pop()
                if at not in seen:
                    seen.add(at)
                    queue += MOVES[at]
            assert seen & ENDED

    def test_a_step_the_lifecycle_lacks_is_refused(self, here: World) -> None:
        job = submit(here.app, spec())

        with pytest.raises(IllegalMove, match="submitted cannot become saving"):
            move(job, JobState.SAVING, here.clock())

    def test_the_seconds_of_each_phase_add_up_over_visits(self, here: World) -> None:
        job = submit(here.app, spec())
        here.clock.tick(2)
        job = move(job, JobState.CHECKING, here.clock())
        here.clock.tick(3)
        job = move(job, JobState.PLACING, here.clock())

        assert job.phases == {"submitted": 2.0, "checking": 3.0}


class TestSubmit:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"participants": ["seuol"]}, "no site 'seuol' is registered; did you mean 'seoul'"),
            ({"data": {"dataset": "breast-cancre"}}, "offers no dataset 'breast-cancre'; did you"),
            ({"data": {"dataset": "breast-cancer"}}, "has the target 'diagnosis', not 'target'"),
            (
                {"data": {"dataset": "breast-cancer", "target": "diagnosis", "positive": "bad"}},
                "no class 'bad'; known: benign, malignant",
            ),
        ],
    )
    def test_what_cannot_run_is_refused_and_nothing_is_created(
        self, here: World, changes: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(InvalidRequest, match=said):
            submit(here.app, spec(**changes))
        assert here.app.jobs.list() == []

    def test_layers_that_do_not_fit_the_data_are_refused(self, here: World) -> None:
        with pytest.raises(InvalidModel, match="3"):
            submit(here.app, spec(model={"layers": [{"linear": 3}]}))

    def test_datasets_that_differ_are_refused(self, here: World) -> None:
        register_site(here.app, Site(name="busan", datasets=(dataset(features=(31,)),)))

        with pytest.raises(InvalidRequest, match=r"\(30,\) at seoul and \(31,\) at busan"):
            submit(here.app, spec())

    def test_a_dry_run_creates_nothing(self, here: World) -> None:
        submit(here.app, spec(), dry_run=True)

        assert here.app.jobs.list() == []

    def test_one_key_makes_one_job(self, here: World) -> None:
        first, second = submit(here.app, spec(), key="k"), submit(here.app, spec(), key="k")

        assert first.id == second.id
        assert len(here.app.jobs.list()) == 1

    def test_an_unknown_model_file_is_refused(self, here: World) -> None:
        model = {"file": "m.pt2", "sha256": "0" * 64}

        with pytest.raises(InvalidRequest, match="was uploaded"):
            submit(here.app, spec(model=model))

    def test_an_app_runs_only_where_every_site_allows_it(self, here: World) -> None:
        with_sites(here.app, "busan", allow_apps=True)

        with pytest.raises(InvalidRequest, match="seoul, daejeon: allows no apps"):
            submit(here.app, spec(model=APP))

    def test_an_app_that_was_not_uploaded_is_refused(self, here: World) -> None:
        with_sites(here.app, allow_apps=True)

        with pytest.raises(InvalidRequest, match=r"no app with the hash 0{64} was uploaded"):
            submit(here.app, spec(model=APP))

    def test_an_app_without_its_hash_is_to_be_uploaded_first(self, here: World) -> None:
        with pytest.raises(InvalidRequest, match=r"model\.app: upload it first"):
            submit(here.app, spec(model={"app": "./app"}))


class TestApps:
    @pytest.fixture
    def job(self, here: World) -> str:
        """A job of an app, in training."""
        here.app.objects.put(app_key("0" * 64), b"bundle")
        with_sites(here.app, allow_apps=True)
        return training(here, model=APP)

    def test_its_sites_are_told_which_app_it_is_and_which_part_they_are(
        self, here: World, job: str
    ) -> None:
        for site in ("seoul", "busan", "daejeon"):
            report_site(here.app, site_says(job, site, 1))
        said = aggregator_says(
            job,
            2,
            Phase.TRAINING,
            linked=("busan", "daejeon", "seoul"),
            address="10.0.0.1:443",
            certificate="pem",
        )
        report_aggregator(here.app, said)
        told = report_site(here.app, site_says(job, "busan", 2)).link

        assert told is not None
        assert told.app == AppLink(sha256="0" * 64, seed=7, partition=1, partitions=3)

    def test_a_machine_here_is_told_whether_its_site_allows_apps(self, tmp_path: Path) -> None:
        cloud = Noting(Clock(), name="local")
        here = world(tmp_path, providers={"local": cloud})
        with_sites(here.app)
        with_sites(here.app, "busan", allow_apps=True)
        launched(here)

        assert cloud.told == {"seoul": "0", "busan": "1", "daejeon": "0"}

    def test_what_is_not_exact_is_told_with_its_round(self, here: World, job: str) -> None:
        odd = app_round(here.app, job, 1, AppRound(not_exact=("strategy.rng (Random)",)))
        report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING, rounds=(odd,)))
        [said] = [one for one in here.app.events.list(job) if one.code == "AppNotExact"]

        assert said.message == "a round done again may differ: strategy.rng (Random)"

    def test_the_best_round_is_that_of_the_metric_under_the_name_the_app_gave_it(
        self, here: World, job: str
    ) -> None:
        rounds = tuple(
            app_round(here.app, job, n, AppRound(evaluate={"eval_acc": value}))
            for n, value in enumerate((0.9, 0.8), 1)
        )
        report_aggregator(here.app, aggregator_says(job, 2, Phase.DONE, rounds=rounds))
        change_selection(here, job, "accuracy")
        keep.select(here.app, job)
        keep.save(here.app, job)
        card = here.app.models.get(job).value

        assert (card.selected.round, card.selected.metric, card.selected.value) == (
            1,
            "accuracy",
            0.9,
        )
        assert card.rounds == {} and card.app_rounds[2].evaluate == {"eval_acc": 0.8}

    def test_without_the_metric_the_last_round_is_kept_unless_a_threshold_was_set(
        self, here: World, job: str
    ) -> None:
        rounds = tuple(app_round(here.app, job, n, AppRound(train={"x": 1})) for n in (1, 2))
        report_aggregator(here.app, aggregator_says(job, 2, Phase.DONE, rounds=rounds))
        change_selection(here, job, "f1", at_least=0.0)
        keep.select(here.app, job)
        kept = here.app.jobs.get(job).value

        assert kept.selected == Selection(round=2, metric="", value=0.0, threshold=0.0)
        assert kept.outcome is None


class Noting(MemoryProvider):
    """Remembers what each site's machine was told of apps."""

    told: ClassVar[dict[str, str]] = {}

    def launch(self, job: str, spec: MachineSpec) -> Machine:
        given = spec.environment
        if "FEDSPAN_SITE" in given:
            self.told[given["FEDSPAN_SITE"]] = given["FEDSPAN_ALLOW_APPS"]
        return super().launch(job, spec)


def change_selection(here: World, job: str, metric: str, at_least: float = 0.5) -> None:
    """As if the job had been submitted so."""
    wanted = SelectionSpec(metric=Metric(metric), at_least=at_least)

    def changed(job: Job) -> Step:
        given = job.spec.model_copy(update={"selection": wanted})
        return Step(job.model_copy(update={"spec": given}))

    change(here.app, job, changed)


def app_round(app: App, job: str, number: int, told: AppRound) -> Round:
    return a_round(app, job, number).model_copy(update={"metrics": None, "app": told})


APP = {"app": "./app", "sha256": "0" * 64}


class TestReports:
    def test_an_echo_changes_nothing_and_is_answered(self, here: World) -> None:
        job = training(here)
        report = aggregator_says(job, 2, Phase.TRAINING, rounds=(a_round(here.app, job, 1),))
        report_aggregator(here.app, report)
        before = here.app.jobs.get(job)
        answer = report_aggregator(here.app, report)

        assert here.app.jobs.get(job) == before
        assert answer.acknowledged == 1

    def test_an_older_incarnation_is_refused(self, here: World) -> None:
        job = training(here)

        with pytest.raises(StaleEpoch, match="at epoch 1, not 2"):
            report_aggregator(here.app, aggregator_says(job, 9, Phase.TRAINING, epoch=2))

    def test_rounds_come_in_order_without_a_gap(self, here: World) -> None:
        job = training(here)
        two = a_round(here.app, job, 2)
        report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING, rounds=(two,)))
        assert here.app.jobs.get(job).value.rounds_done == 0
        both = (two, a_round(here.app, job, 1))
        report_aggregator(here.app, aggregator_says(job, 3, Phase.TRAINING, rounds=both))

        assert [one.number for one in here.app.rounds.list(job)] == [1, 2]

    def test_a_participants_failure_is_told_once(self, here: World) -> None:
        job = training(here)
        failed = Participation(status=Status.FAILED, message="the loss is NaN")
        progress = Progress(round=1, participants={"busan": failed})
        for seq in (2, 3):
            report_aggregator(
                here.app, aggregator_says(job, seq, Phase.TRAINING, progress=progress)
            )

        told = [e for e in here.app.events.list(job) if e.code == "ParticipantFailed"]
        assert [(e.site, e.message) for e in told] == [
            ("busan", "busan failed in round 1: the loss is NaN")
        ]

    def test_a_report_renews_the_heartbeat_and_a_fault_fails_the_wait(self, here: World) -> None:
        job = training(here)
        here.app.executions.told.clear()  # type: ignore[attr-defined]
        fault = Fault(code="TrainingFailed", message="no")
        report_aggregator(here.app, aggregator_says(job, 2, Phase.FAILED, fault=fault))

        told = here.app.executions.told  # type: ignore[attr-defined]
        assert told == [("token", "alive"), ("token", "TrainingFailed")]

    def test_a_site_is_linked_once_the_aggregator_lets_its_key_in(self, here: World) -> None:
        job = launched(here)
        assert report_site(here.app, site_says(job, "seoul", 1)).link is None
        answer = report_aggregator(here.app, aggregator_says(job, 1, Phase.READY))
        assert [(n.site, n.public_key) for n in answer.nodes] == [("seoul", "K")]
        assert report_site(here.app, site_says(job, "seoul", 2)).link is None
        report_aggregator(here.app, aggregator_says(job, 2, Phase.READY, linked=("seoul",)))
        link = report_site(here.app, site_says(job, "seoul", 3)).link

        assert link is not None
        assert (link.job, link.epoch, link.address) == (job, 1, "127.0.0.1:9")

    def test_a_site_that_is_silent_for_long_is_lost(self, here: World) -> None:
        job = training(here)
        report_site(here.app, site_says(job, "seoul", 1, machine="rack-3"))
        here.clock.tick(16)
        answer = report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING))

        assert (answer.lost, answer.returning) == (("seoul",), ())

    def test_a_machine_of_ours_that_falls_silent_may_be_coming_back_for_a_while(
        self, here: World
    ) -> None:
        job = training(here)
        report_site(here.app, site_says(job, "seoul", 1))
        here.clock.tick(16)
        soon = report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING))
        here.clock.tick(15)
        late = report_aggregator(here.app, aggregator_says(job, 3, Phase.TRAINING))

        assert (soon.lost, soon.returning) == ((), ("seoul",))
        assert (late.lost, late.returning) == (("seoul",), ())

    def test_a_job_that_ends_tells_its_aggregator_to_stop(self, here: World) -> None:
        job = training(here)
        cancel(here.app, job)
        answer = report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING))

        assert answer.desired is Desired.STOP


class TestEnding:
    def test_a_cancelled_job_does_not_enter_its_next_step(self, here: World) -> None:
        job = submit(here.app, spec()).id
        cancel(here.app, job)

        with pytest.raises(JobCancelled):
            steps.check(here.app, job)

    def test_cancelling_twice_is_told_once(self, here: World) -> None:
        job = submit(here.app, spec()).id
        cancel(here.app, job)
        cancel(here.app, job)

        codes = [event.code for event in here.app.events.list(job)]
        assert codes.count("CancelRequested") == 1

    def test_the_first_outcome_stays(self, here: World) -> None:
        job = launched(here)
        ending.give_up(here.app, job, {"Error": "NoCapacity", "Cause": "sold out"})
        ending.give_up(here.app, job, {"Error": "Denied", "Cause": "no"})

        outcome = here.app.jobs.get(job).value.outcome
        assert outcome is not None and outcome.code == "NoCapacity"

    @pytest.mark.parametrize("name", ["States.Timeout", "States.HeartbeatTimeout"])
    def test_a_missed_heartbeat_is_a_lost_aggregator(self, name: str) -> None:
        assert ending.outcome_of({"Error": name, "Cause": ""}).code == "HeartbeatMissed"

    def test_a_webhook_that_cannot_be_reached_is_an_event(self, tmp_path: Path) -> None:
        def refuse(url: str, document: dict[str, Any]) -> None:
            raise OSError("refused")

        here = world(tmp_path, post=refuse)
        with_sites(here.app)
        job = submit(here.app, spec(notify=[{"webhook": "http://127.0.0.1:9/"}])).id

        assert ending.notify(here.app, job)["unreached"] == 1
        assert here.app.events.list(job)[-1].code == "NotifyFailed"

    def test_a_webhook_hears_the_outcome(self, here: World) -> None:
        job = training(here, notify=[{"webhook": "http://127.0.0.1:9/"}])
        ending.give_up(here.app, job, {"Error": "NoCapacity", "Cause": "sold out"})
        ending.notify(here.app, job)

        [(url, document)] = here.posted
        assert url == "http://127.0.0.1:9/"
        assert document["outcome"]["code"] == "NoCapacity"

    def test_teardown_releases_the_sites(self, here: World) -> None:
        job = training(here)
        assert ending.tear_down(here.app, job)["status"] == "gone"
        ending.finish(here.app, job)

        assert here.app.assignments.list("seoul") == []
        delete_site(here.app, "seoul")

    def test_a_site_that_trains_is_not_removed(self, here: World) -> None:
        training(here)

        with pytest.raises(Conflict, match="takes part"):
            delete_site(here.app, "seoul")

    def test_the_sweep_removes_machines_nobody_wants(self, here: World) -> None:
        job = launched(here)
        assert sweep.sweep(here.app)["removed"] == []
        ending.give_up(here.app, job, {"Error": "NoCapacity", "Cause": ""})
        ending.tear_down(here.app, job)
        ending.finish(here.app, job)
        steps_key = here.cloud.launched
        here.cloud.launch("unknown-job", _spec_of(here))
        swept = sweep.sweep(here.app)

        assert swept["removed"] == ["stray"]
        assert here.cloud.machines() == []
        assert steps_key == 4

    def test_only_an_ended_job_is_deleted_and_then_wholly(self, here: World) -> None:
        job = training(here)
        report_aggregator(
            here.app,
            aggregator_says(job, 2, Phase.TRAINING, rounds=(a_round(here.app, job, 1),)),
        )
        with pytest.raises(Conflict, match="cancel it first"):
            delete(here.app, job)
        ending.give_up(here.app, job, {"Error": "Denied", "Cause": "no"})
        ending.tear_down(here.app, job)
        ending.finish(here.app, job)
        delete(here.app, job)

        with pytest.raises(NotFound):
            here.app.jobs.get(job)
        assert here.app.objects.list("jobs/") == []
        assert here.app.rounds.list(job) == []
        assert here.app.events.list(job) == []


class TestLimits:
    def test_a_job_past_its_deadline_ends_and_is_not_recovered(self, here: World) -> None:
        job = training(here, limits={"deadline": "1h"})
        here.clock.tick(3601)
        report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING))
        assert here.app.executions.told[-1] == ("token", "DeadlineExceeded")  # type: ignore[attr-defined]
        assert lose(here.app, job)["again"] is False
        ending.give_up(here.app, job, {"Error": "States.Timeout", "Cause": ""})

        outcome = here.app.jobs.get(job).value.outcome
        assert outcome is not None and outcome.code == "DeadlineExceeded"
        assert "limits.deadline" in outcome.message

    def test_a_job_that_reached_its_budget_ends(self, here: World) -> None:
        job = training(here, limits={"budget_usd": 0.01})
        here.clock.tick(3600)
        report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING))

        assert here.app.executions.told[-1] == ("token", "BudgetExceeded")  # type: ignore[attr-defined]
        assert here.app.jobs.get(job).value.cost >= 10_000

    def test_the_cost_of_every_incarnation_adds_up(self, here: World) -> None:
        job = training(here)
        here.clock.tick(3600)
        first = here.app.jobs.get(job).value
        assert first.aggregator is not None
        price = first.aggregator.offer.price
        lose(here.app, job)
        steps.place(here.app, job)
        steps.launch(here.app, job)
        here.clock.tick(1800)
        ending.give_up(here.app, job, {"Error": "Denied", "Cause": "no"})
        ending.tear_down(here.app, job)
        here.clock.tick(7200)
        ending.finish(here.app, job)

        assert here.app.jobs.get(job).value.cost == price + price // 2


class TestWhatAReviewFound:
    """Each was a way to lose a job, a machine or a secret."""

    def test_a_long_absence_of_the_control_plane_loses_no_round(self, here: World) -> None:
        job = training(here, rounds=120)
        backlog = tuple(a_round(here.app, job, number) for number in range(1, 121))
        seq, known = 2, 0
        while known < 120:
            report = aggregator_says(job, seq, Phase.DONE, rounds=backlog[known:])
            answer = report_aggregator(here.app, report)
            assert answer.acknowledged > known
            seq, known = seq + 1, answer.acknowledged

        assert len(here.app.rounds.ids(job)) == 120

    def test_machines_of_past_jobs_are_forgotten(self, here: World) -> None:
        job = training(here)
        report_site(here.app, site_says(job, "seoul", 1))
        ending.tear_down(here.app, job)

        assert here.app.agents.ids("seoul") == []

    def test_an_execution_started_anew_goes_on_from_recovering(self, here: World) -> None:
        job = training(here)
        lose(here.app, job)
        assert here.app.jobs.get(job).value.state is JobState.RECOVERING
        resume(here.app)
        steps.check(here.app, job)
        steps.place(here.app, job)

        assert here.app.jobs.get(job).value.state is JobState.PLACING

    def test_a_submission_whose_execution_did_not_start_is_started_by_its_repeat(
        self, here: World
    ) -> None:
        executions = here.app.executions
        executions.refuse = Throttled("later")  # type: ignore[attr-defined]
        with pytest.raises(Throttled):
            submit(here.app, spec(), key="k")
        job = submit(here.app, spec(), key="k")

        assert set(executions.started) == {f"{job.id}-1"}  # type: ignore[attr-defined]
        assert len(here.app.jobs.list()) == 1

    def test_the_sweep_carries_on_a_job_whose_execution_is_gone(self, here: World) -> None:
        job = training(here)
        here.app.executions.started.clear()  # type: ignore[attr-defined]
        assert sweep.sweep(here.app)["revived"] == []
        here.clock.tick(61)

        assert sweep.sweep(here.app)["revived"] == [job]
        assert set(here.app.executions.started) == {f"{job}-2"}  # type: ignore[attr-defined]

    def test_a_job_that_cannot_be_carried_on_keeps_no_other(self, here: World) -> None:
        jobs = [submit(here.app, spec()).id for _ in range(4)]
        executions = here.app.executions
        executions.started.clear()  # type: ignore[attr-defined]
        executions.unknown.add(f"{jobs[0]}-1")  # type: ignore[attr-defined]
        damaged = here.app.jobs.get(jobs[1])
        put = here.app.jobs.put(damaged.value, jobs[1], expected=damaged.version)
        here.store.write([Put(put.key, "{", put.expected)])
        here.clock.tick(61)
        with capture_logs() as logged:
            assert sweep.sweep(here.app)["revived"] == jobs[2:]

        failed = [line for line in logged if line["event"] == "NotRevived"]
        assert [line["job"] for line in failed] == jobs[:2]
        assert failed[0]["error"].startswith("Denied: ")

    def test_a_machine_of_a_job_that_cannot_be_read_keeps_no_other(self, here: World) -> None:
        job = launched(here)
        damaged = here.app.jobs.get(job)
        put = here.app.jobs.put(damaged.value, job, expected=damaged.version)
        here.store.write([Put(put.key, "{", put.expected)])
        here.cloud.launch("unknown-job", _spec_of(here))
        with capture_logs() as logged:
            swept = sweep.sweep(here.app)

        assert swept["removed"] == ["stray"]
        assert len(swept["stuck"]) == 4  # type: ignore[arg-type]
        assert {line["job"] for line in logged} == {job}

    @pytest.mark.parametrize(
        ("code", "told"),
        [
            ("AggregatorLost", "AggregatorLost"),
            ("ParticipantsMissing", "ParticipantsMissing"),
            ("StorageFull", "StorageFull"),
            ("DiskFull", "DiskFull"),
            ("Superseded", "TrainingFailed"),
            ("JobCancelled", "TrainingFailed"),
            ("Conflict", "TrainingFailed"),
            ("StoreUnavailable", "TrainingFailed"),
            ("States.ALL", "TrainingFailed"),
            ("x" * 1000, "TrainingFailed"),
        ],
    )
    def test_a_machine_ends_its_job_only_by_a_fault(
        self, here: World, code: str, told: str
    ) -> None:
        job = training(here)
        fault = Fault(code=code, message="why")
        report_aggregator(here.app, aggregator_says(job, 2, Phase.FAILED, fault=fault))

        assert here.app.executions.told[-1] == ("token", told)  # type: ignore[attr-defined]

    def test_a_machine_that_resists_keeps_no_other(self, here: World) -> None:
        job = training(here)
        ending.give_up(here.app, job, {"Error": "Denied", "Cause": "no"})
        here.cloud.fail_terminate = [ProviderError("500")]

        assert ending.tear_down(here.app, job)["status"] == "waiting"
        assert len(here.cloud.machines()) == 1
        assert ending.tear_down(here.app, job)["status"] == "gone"

    def test_a_cloud_that_cannot_be_asked_is_not_taken_for_empty(self, tmp_path: Path) -> None:
        class Down(MemoryProvider):
            def machines(self, job: str | None = None) -> Sequence[Machine]:
                raise ProviderError("down")

        clock = Clock()
        up, down = MemoryProvider(clock, name="local"), Down(clock, name="away")
        here = world(tmp_path, providers={"away": down, "local": up})
        with_sites(here.app)
        job = submit(here.app, spec()).id
        for step in (steps.check, steps.place):
            step(here.app, job)
        up.launch(job, _spec_of(here))

        assert ending.tear_down(here.app, job)["status"] == "waiting"
        assert up.machines() == []

    def test_the_sweep_removes_an_aggregator_that_was_replaced(self, here: World) -> None:
        job = training(here)
        here.cloud.fail_terminate = [ProviderError("500")]
        lose(here.app, job)
        assert any(m.epoch == 1 and "aggregator" in m.key for m in here.cloud.machines())

        assert sweep.sweep(here.app)["removed"] == [f"{job}-aggregator-1"]

    def test_a_word_about_an_earlier_epoch_reaches_no_later_wait(self, here: World) -> None:
        job = training(here)
        before = here.app.jobs.get(job).value
        lose(here.app, job)
        steps.place(here.app, job)
        steps.launch(here.app, job)
        waits.await_ready(here.app, job, "second")
        here.app.executions.told.clear()  # type: ignore[attr-defined]

        assert waits.fail(here.app, before, "AggregatorLost", "its machine has ended") is False
        assert here.app.executions.told == []  # type: ignore[attr-defined]

    def test_done_without_all_rounds_is_a_failure_and_no_wait(self, here: World) -> None:
        job = training(here)
        report_aggregator(here.app, aggregator_says(job, 2, Phase.DONE))

        assert here.app.executions.told[-1] == ("token", "TrainingFailed")  # type: ignore[attr-defined]

    def test_an_aggregator_speaks_of_its_own_job_only(self, here: World) -> None:
        job, other = training(here), training(here)
        foreign = a_round(here.app, other, 1)
        stolen = foreign.model_copy(update={"job": job})
        for round in (foreign, stolen):
            with pytest.raises(InvalidRequest, match="is no round of job"):
                report_aggregator(
                    here.app, aggregator_says(job, 2, Phase.TRAINING, rounds=(round,))
                )
        assert here.app.rounds.ids(other) == []

    def test_a_crowd_that_fails_is_told_in_one_event(self, here: World) -> None:
        job = training(here)
        failed = Participation(status=Status.FAILED, message="gone")
        crowd = {f"site-{number}": failed for number in range(300)}
        progress = Progress(round=1, participants=crowd)
        report_aggregator(here.app, aggregator_says(job, 2, Phase.TRAINING, progress=progress))

        told = [e for e in here.app.events.list(job) if e.code == "ParticipantFailed"]
        assert len(told) == 1
        assert "300 participants failed in round 1" in told[0].message

    def test_a_site_outlives_the_record_of_a_job_it_was_assigned_to(self, here: World) -> None:
        gone = Assignment(site="seoul", job="gone")
        here.app.store.write([here.app.assignments.put(gone, "gone", "seoul", expected=0)])

        assert report_site(here.app, site_says("gone", "seoul", 1)).link is None
        assert here.app.assignments.list("seoul") == []

    def test_an_aggregator_is_paid_for_though_a_client_could_not_start(self, here: World) -> None:
        job = submit(here.app, spec()).id
        steps.check(here.app, job)
        steps.place(here.app, job)
        launch, here.cloud.launch = here.cloud.launch, None  # type: ignore[method-assign, assignment]

        def one_only(job_id: str, machine: Any) -> Any:
            if "client" in machine.key:
                raise NoCapacity("sold out")
            return launch(job_id, machine)

        here.cloud.launch = one_only  # type: ignore[method-assign]
        with pytest.raises(NoCapacity):
            steps.launch(here.app, job)
        here.clock.tick(3600)
        ending.give_up(here.app, job, {"Error": "NoCapacity", "Cause": "sold out"})
        ending.tear_down(here.app, job)

        ended = here.app.jobs.get(job).value
        assert ended.aggregator is not None
        assert ended.cost == ended.aggregator.offer.price > 0

    def test_no_path_of_a_site_travels_and_none_changes_under_a_job(self, here: World) -> None:
        job = launched(here)
        report_site(here.app, site_says(job, "seoul", 1))
        report_aggregator(here.app, aggregator_says(job, 1, Phase.READY, linked=("seoul",)))
        link = report_site(here.app, site_says(job, "seoul", 2)).link

        assert link is not None and link.dataset.path == ""
        with pytest.raises(Conflict, match="takes part"):
            register_site(here.app, Site(name="seoul", datasets=(dataset(path="/etc/other"),)))

    def test_a_client_that_no_longer_reaches_us_is_started_anew(self, here: World) -> None:
        job = training(here)
        report_site(here.app, site_says(job, "seoul", 1))
        here.clock.tick(16)
        report_site(here.app, site_says(job, "busan", 1))
        lose(here.app, job)

        assert f"{job}-client-seoul" not in {m.key for m in here.cloud.machines()}
        assert f"{job}-client-busan" in {m.key for m in here.cloud.machines()}


class TestKeeping:
    def test_saving_twice_keeps_one_model(self, here: World) -> None:
        job = training(here)
        rounds = (a_round(here.app, job, 1), a_round(here.app, job, 2))
        report_aggregator(here.app, aggregator_says(job, 2, Phase.DONE, rounds=rounds))
        keep.select(here.app, job)
        keep.save(here.app, job)
        card = here.app.models.get(job).value
        keep.save(here.app, job)

        assert here.app.models.list() == [card]
        assert card.versions["fedspan"]
        assert card.participants == {"seoul": 80, "busan": 80, "daejeon": 80}


class TestResume:
    def test_unfinished_jobs_get_a_new_execution_and_the_old_one_steps_aside(
        self, here: World
    ) -> None:
        job = training(here)
        assert resume(here.app) == [job]

        assert set(here.app.executions.started) == {f"{job}-1", f"{job}-2"}  # type: ignore[attr-defined]
        assert here.app.waits.find(job) is None
        still_carries(here.app, job, 2)
        with pytest.raises(Conflict, match="carried on by execution 2, not 1"):
            still_carries(here.app, job, 1)

    def test_a_wait_that_was_met_before_anybody_waited_is_answered_at_once(
        self, here: World
    ) -> None:
        job = launched(here)
        report_aggregator(here.app, aggregator_says(job, 1, Phase.READY))
        waits.await_ready(here.app, job, "late")

        assert here.app.waits.get(job).value.until is Until.READY
        assert here.app.executions.told == [("late", "succeeded")]  # type: ignore[attr-defined]


def _spec_of(here: World) -> Any:
    from fedspan.domain.machines import MachineSpec, Role
    from fedspan.domain.spec import Need

    offer = here.cloud.offers(Need())[0]
    return MachineSpec(key="stray", role=Role.CLIENT, epoch=1, offer=offer)
