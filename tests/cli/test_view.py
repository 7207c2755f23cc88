"""What a person sees of a job that runs, and where logs go."""

from __future__ import annotations

import io
import json
import logging
import os

import pytest
import structlog
from rich.console import Console

from fedspan.cli import render
from fedspan.cli.left_over import LeftOver
from fedspan.cli.logs import logged
from fedspan.cli.plain import dumped
from fedspan.cli.report import Report, document, reason
from fedspan.cli.view import MOST_ROWS, Lines, Screen, Seen, frame, view_on
from fedspan.domain.jobs import JobState, Loss, Outcome, Progress
from fedspan.domain.machines import Offer
from fedspan.domain.rounds import Participation, Status
from fedspan.domain.selection import Selection, select
from fedspan.domain.sites import Agent, Site
from fedspan.domain.texts import plain
from fedspan.services.submit import submit
from tests.support.world import a_round, dataset, spec, with_sites, world


@pytest.fixture
def seen(tmp_path):
    """A job in its second round, one participant having failed."""
    here = world(tmp_path)
    with_sites(here.app)
    job = submit(here.app, spec(rounds=3))
    parts = {
        "seoul": Participation(status=Status.TRAINING),
        "busan": Participation(status=Status.DONE, examples=128, seconds=0.25),
        "daejeon": Participation(status=Status.FAILED, message="loss is NaN"),
    }
    job = job.model_copy(
        update={
            "state": JobState.TRAINING,
            "rounds_done": 1,
            "progress": Progress(round=2, participants=parts),
            "cost": 12_345,
        }
    )
    return Seen(job, [a_round(here.app, job.id, 1)], here.app.events.list(job.id))


def drawn(shown, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(shown)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_shows_all_that_is_asked_for_on_lines_that_fit(seen, width):
    lines = drawn(frame(seen), width)
    text = "\n".join(lines)

    assert max(map(len, lines)) <= width
    assert "training" in lines[0]
    assert "$0.0123" in lines[0]
    assert "1/3" in lines[1]
    assert "accuracy 0.900" in lines[2]
    assert "f1 0.900" in lines[2]
    assert "● training" in text
    assert "128     0.25" in text
    assert "✗ failed: loss is NaN" in text
    assert lines[-1].startswith("JobSubmitted: ")


def test_before_the_first_round_the_screen_names_the_participants(seen):
    job = seen.job.model_copy(update={"progress": Progress(), "rounds_done": 0})
    text = "\n".join(drawn(frame(Seen(job, [], [])), 80))

    assert text.count("waiting: not linked yet") == 3
    assert "no metrics yet" in text


def test_many_participants_do_not_fill_the_screen(seen):
    parts = {f"site-{n:03}": Participation(status=Status.DONE) for n in range(500)}
    job = seen.job.model_copy(update={"progress": Progress(round=1, participants=parts)})
    lines = drawn(frame(Seen(job, seen.rounds, seen.events)), 80)

    assert len(lines) < 24
    assert f"{500 - MOST_ROWS} more" in "\n".join(lines)


def test_without_a_terminal_each_event_is_one_line_once(seen):
    console = Console(file=io.StringIO(), width=80)
    with view_on(console) as view:
        view.show(seen)
        view.show(seen)

    assert isinstance(view, Lines)
    assert console.file.getvalue().count("JobSubmitted: breast-cancer: 3 rounds") == 1


def test_a_reader_that_leaves_is_noticed_though_nothing_happens(seen):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file, view_on(Console(file=file, width=80)) as view:
        view.show(seen)
        view.show(seen)
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            view.show(seen)


def test_a_terminal_gets_a_screen_that_goes_away(seen):
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with view_on(console) as view:
        view.show(seen)

    assert isinstance(view, Screen)
    assert console.file.getvalue().endswith("\x1b[2K")


def report(seen, tmp_path, values, at_least=0.5, **left):
    app = world(tmp_path).app
    rounds = [a_round(app, seen.job.id, n, right=right) for n, right in enumerate(values, 1)]
    chosen = select(rounds, spec(selection={"metric": "f1", "at_least": at_least}).selection)
    job = seen.job.model_copy(update={"selected": chosen, "state": JobState.SUCCEEDED})
    return Report(job, rounds, None, LeftOver(left.get("processes", ()), ()))


@pytest.mark.parametrize(
    ("values", "at_least", "said"),
    [
        ([40, 45, 30], 0.7, "round 2: f1 0.9000, the highest of 3 rounds; 2 reached the 0.7"),
        ([45], 0.7, "round 1: f1 0.9000, the only round; 1 reached"),
        ([45, 45], 0.7, "round 1: f1 0.9000, the highest of 2 rounds (2 reach it"),
        ([30, 35], 0.9, "round 2: f1 0.7000, the highest of 2 rounds, but below the 0.9"),
    ],
)
def test_the_reason_of_the_choice_is_told_in_words(seen, tmp_path, values, at_least, said):
    assert reason(report(seen, tmp_path, values, at_least)).startswith(said)


def test_what_is_left_over_is_named(seen, tmp_path):
    made = report(seen, tmp_path, [45], processes=(4711,))

    assert "processes: 4711" in "\n".join(drawn(render.facts(render._facts(made)), 80))
    assert document(made)["left_over"] == {"processes": 1, "directories": 0}


@pytest.mark.parametrize("width", [80, 120])
def test_a_summary_fits(seen, tmp_path, width):
    for one in render.summary(report(seen, tmp_path, [40, 45])):
        assert max(map(len, drawn(one, width))) <= width


def test_loss_that_is_no_number_is_null_in_json(seen, tmp_path):
    made = report(seen, tmp_path, [45])
    metrics = made.rounds[0].metrics.model_copy(update={"loss": float("nan")})
    rounds = [made.rounds[0].model_copy(update={"metrics": metrics})]
    shown = document(Report(made.job, rounds, None, made.left))

    assert shown["rounds"][0]["metrics"]["loss"] is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1:00"), (7509, "2:05:09")]
)
def test_durations_read_well(seconds, said):
    assert render.duration(seconds) == said


def test_logs_are_json_lines_with_the_job_and_without_tokens(tmp_path):
    path = tmp_path / "fedspan.log"
    with logged(path):
        structlog.get_logger().info("RoundDone", job="j1", header="Bearer eyJhbGc.eyJyb2xl.c2ln")
        logging.getLogger("some.library").warning("with %s", "eyJhbGc.eyJyb2xl.c2ln")
        try:
            raise RuntimeError("boom")
        except RuntimeError:
            structlog.get_logger().exception("broken", job="j1")
    lines = [json.loads(line) for line in path.read_text().splitlines()]

    assert [line["event"] for line in lines] == ["RoundDone", "with [token]", "broken"]
    assert lines[0]["job"] == "j1"
    assert lines[0]["header"] == "Bearer [token]"
    assert "RuntimeError: boom" in lines[2]["exception"]


def test_without_a_file_logs_go_to_stderr(capsys):
    with logged():
        structlog.get_logger().warning("careful", job="j1")

    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["event"] == "careful"


def test_where_a_process_logs_is_as_before_when_the_block_ends(tmp_path):
    structlog.reset_defaults()
    with logged(tmp_path / "fedspan.log"):
        assert structlog.is_configured()

    assert not structlog.is_configured()


EVIL = "x\x1b]0;owned\x07\x1b[2J\x9b2J\x7f\r\nfaked: y\tz"
TAMED = "x]0;owned[2J2J faked: y z"


def test_no_control_character_of_a_message_reaches_the_terminal(seen, tmp_path):
    part = Participation(status=Status.FAILED, message=EVIL)
    outcome = Outcome(state=JobState.FAILED, code="TrainingFailed", message=EVIL)
    changes = {"progress": Progress(round=2, participants={"busan": part}), "outcome": outcome}
    job = seen.job.model_copy(update={**changes, "state": JobState.FAILED})
    events = [seen.events[0].model_copy(update={"message": EVIL})]
    agent = Agent(site="busan", machine=EVIL, seq=1, seen=job.since, public_key="", job=EVIL)
    site = Site(name="busan", city=EVIL, datasets=(dataset(target=EVIL),))
    lines = Console(file=io.StringIO(), width=200)
    Lines(lines).show(Seen(job, [], events))
    shown = [
        frame(Seen(job, seen.rounds, events)),
        render.events(events),
        render.sites([site]),
        render.machines([agent]),
        *render.summary(Report(job, [], None, LeftOver((), ()))),
    ]
    text = "\n".join("\n".join(drawn(one, 200)) for one in shown)

    assert (text + lines.file.getvalue()).count(TAMED) == 9
    assert not set(text + lines.file.getvalue()) & set("\x1b\x07\x9b\x7f\r\t")


def test_no_control_character_of_an_error_reaches_the_terminal(cli):
    told = cli("job", "show", EVIL)
    as_json = cli("job", "show", EVIL, "--json")

    assert not set(told.err + as_json.err + as_json.out) & set("\x1b\x07\x9b\x7f\r\t")


def test_json_keeps_what_was_said():
    assert json.loads(dumped({"message": EVIL})) == {"message": EVIL}
    assert dumped(EVIL).isprintable()
    assert plain("für München: 2×3 “ok”") == "für München: 2×3 “ok”"


def test_a_selection_of_nothing_has_no_reason(seen, tmp_path):
    made = report(seen, tmp_path, [45])
    job = made.job.model_copy(update={"selected": None})

    assert reason(Report(job, [], None, made.left)) == "no round was chosen"
    assert isinstance(made.job.selected, Selection)


def test_the_aggregators_a_job_lost_are_named(seen):
    offer = Offer(
        provider="aws", region="r1", machine_type="m", vcpus=1, memory_mib=1024, price=1, spot=True
    )
    at = seen.job.submitted
    losses = tuple(
        Loss(epoch=epoch, code=code, offer=offer, at=at, rounds_done=0)
        for epoch, code in ((1, "MachineGone"), (2, "SpotNotice"))
    )
    job = seen.job.model_copy(update={"losses": losses, "epoch": 3})
    text = "\n".join(
        line
        for part in render.summary(Report(job, [], None, LeftOver((), ())))
        for line in drawn(part, 100)
    )

    assert "2 aggregators and went on (1: MachineGone, 2: SpotNotice)" in text
