"""``fedspan job submit --app``: an app's folder, its settings, and whose consent it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fedspan.flower.app_bundle import build_app
from fedspan.objects.opening import open_objects
from fedspan.services.examine import app_key
from tests.cli.conftest import serving
from tests.support.world import spec_document

APP = Path(__file__).parents[1] / "flower" / "apps" / "drifting"


def allow(cli, tmp_path, *names):
    data = tmp_path / "toy.csv"
    data.write_text("a,b,target\n1,2,x\n2,3,y\n3,1,x\n")
    for name in names:
        assert cli("site", "add", name, "--dataset", f"toy={data}", "--allow-apps").code == 0


def test_an_app_alone_runs_at_the_sites_that_allow_it_on_what_they_share(cli, home, tmp_path):
    allow(cli, tmp_path, "jeju", "suwon")
    with serving(home):
        dry = cli("job", "submit", "--app", APP, "--set", "learning-rate=1", "--dry-run", "--json")

    assert dry.code == 0, dry.err
    assert dry.document["participants"] == ["jeju", "suwon"]
    assert dry.document["app"]["learning-rate"] == 1.0
    assert dry.document["app"]["num-server-rounds"] == 3
    [kept] = open_objects(home.objects_url).list(app_key(build_app(APP).sha256))
    assert kept.bytes == len(build_app(APP).content)


def test_the_rounds_of_a_job_are_the_apps_and_people_see_what_would_run(cli, home, tmp_path):
    allow(cli, tmp_path, "jeju")
    with serving(home):
        dry = cli("job", "submit", "--app", APP, "--rounds", "9", "--dry-run")

    assert "app drifting: num-server-rounds = 9, learning-rate = 0.5" in dry.out
    assert "bundle: " in dry.out and "SHA-256" in dry.out


def test_a_spec_names_an_app_beside_it_and_an_option_overrides_its_settings(cli, home, tmp_path):
    allow(cli, tmp_path, "jeju")
    (tmp_path / "app").symlink_to(APP)
    model = {"app": "./app", "config": {"learning-rate": 0.1, "strategy": "fedadam"}}
    told = spec_document(participants=["jeju"], model=model, data={"dataset": "toy"})
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(told))
    with serving(home):
        dry = cli("job", "submit", file, "--set", "learning-rate=0.2", "--dry-run", "--json")

    assert dry.code == 0, dry.err
    assert (dry.document["app"]["learning-rate"], dry.document["app"]["strategy"]) == (
        0.2,
        "fedadam",
    )


def test_a_site_that_allows_no_apps_is_named(cli, home, tmp_path):
    allow(cli, tmp_path, "jeju", "suwon")
    cli("site", "add", "suwon", "--dataset", f"toy={tmp_path / 'toy.csv'}", "--no-apps")
    with serving(home):
        dry = cli("job", "submit", "--app", APP, "--participants", "jeju,suwon", "--dry-run")

    assert dry.code == 2
    assert "model.app: suwon: allows no apps" in dry.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--app", APP], "no site allows apps; `fedspan site add"),
        (["--app", APP / "nowhere", "--participants", "jeju"], "there is no folder"),
        (["--app", APP, "--participants", "jeju", "--set", "learning-rat=1"], "'learning-rate'?"),
        (
            ["--app", APP, "--participants", "jeju", "--set", "num-server-rounds=4"],
            "is the job's `rounds` (without a spec: --rounds)",
        ),
        ([], "want SPEC, a YAML or JSON file, or --app DIR"),
    ],
)
def test_what_cannot_be_submitted_is_said_in_a_sentence(cli, home, options, said):
    with serving(home):
        result = cli("job", "submit", *options, "--dry-run")

    assert result.code == 2
    assert said in result.err


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({}, ["--set", "a=1"], "--set: is of an app"),
        ({}, ["--app", str(APP)], "--app: "),
        ({"model": {"app": str(APP)}}, [], "strategy: is the app's own"),
        ({}, ["--rounds", "3"], "--rounds: only without SPEC"),
    ],
)
def test_what_contradicts_a_spec_is_refused(cli, home, tmp_path, changes, options, said):
    told = spec_document(**changes) | {"strategy": {"name": "fedavg"}}
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(told))
    with serving(home):
        result = cli("job", "submit", file, *options, "--dry-run")

    assert result.code == 2
    assert said in result.err
