"""``fedspan model`` and ``fedspan site``."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from fedspan.cli import render_site
from fedspan.domain.credentials import Cloud, Credential, Examination, Identity
from fedspan.domain.measurements import Measurement, Reached
from fedspan.domain.sites import Site, SiteKind
from tests.cli.conftest import serving, train_until_cancelled, until
from tests.support.world import with_sites


@pytest.fixture
def model(cli, home, spec_file):
    with serving(home):
        report = cli("job", "submit", spec_file, "--watch", "--json").document
    return report["model"]["id"]


def test_models_are_listed_and_shown(cli, model):
    listed, shown = cli("model", "list", "--json"), cli("model", "show", model, "--json")

    assert listed.document["models"] == [shown.document]
    assert shown.document["classes"] == ["benign", "malignant"]


def test_people_see_the_card(cli, model):
    result = cli("model", "show", model)

    assert "seoul 80" in result.out
    assert f"{1:064x}" in result.out
    assert f"{model}/weights.safetensors" in result.out


@pytest.mark.parametrize("to", ["model.bin", "model", "nowhere/model.pt2"])
def test_an_export_goes_to_a_file_of_a_known_kind_in_a_folder(cli, model, tmp_path, to):
    result = cli("model", "export", model, "--to", tmp_path / to)

    assert result.code == 2
    assert "--to" in result.err


@pytest.mark.parametrize("kind", ["pt2", "onnx", "safetensors"])
def test_weights_that_do_not_match_their_hash_are_not_exported(cli, model, tmp_path, kind):
    to = tmp_path / f"model.{kind}"
    to.write_text("mine")

    result = cli("model", "export", model, "--to", to, "--json")

    assert result.code == 6
    assert result.document["error"]["type"] == "Corrupt"
    assert to.read_text() == "mine"


def test_a_model_that_is_none_is_not_found(cli, tmp_path):
    assert cli("model", "export", "none", "--to", tmp_path / "a.pt2").code == 5
    assert cli("model", "show", "none").code == 5
    assert cli("model", "delete", "none").code == 5


def csv(tmp_path, target="target", name="data.csv"):
    path = tmp_path / name
    path.write_text(f"a,b,{target}\n1,2,x\n3,4,y\n5,6,x\n")
    return path


def test_a_site_is_added_described_listed_and_deleted(cli, tmp_path):
    added = cli(
        *("site", "add", "seoul", "--dataset", f"people={csv(tmp_path, 'kind')}:kind"),
        *("--city", "Seoul", "--country", "KR", "--lat", "37.6", "--lon", "127.0", "--json"),
    )
    listed = cli("site", "list", "--json").document["sites"]
    shown = cli("site", "show", "seoul", "--json").document
    deleted = cli("site", "delete", "seoul", "--json")

    assert added.code == 0
    assert listed == [added.document]
    assert shown == {**added.document, "measured": {}, "machines": []}
    assert added.document["datasets"] == [
        {
            "name": "people",
            "path": str(tmp_path / "data.csv"),
            "target": "kind",
            "features": [2],
            "classes": ["x", "y"],
            "examples": 3,
        }
    ]
    assert deleted.document == {"deleted": "seoul"}
    assert cli("site", "show", "seoul").code == 5


def test_a_site_that_is_added_again_loses_nothing(cli, tmp_path):
    more = csv(tmp_path, name="more.csv")
    first = ("--city", "Seoul", "--lat", "37.6", "--lon", "127.0", "--up-mbps", "50")
    cli("site", "add", "seoul", "--dataset", f"old={csv(tmp_path)}", *first)
    again = cli("site", "add", "seoul", "--dataset", f"new={more}", "--country", "KR", "--json")
    site = again.document
    replaced = cli("site", "add", "seoul", "--dataset", f"new={csv(tmp_path)}", "--json").document

    assert [one["name"] for one in site["datasets"]] == ["old", "new"]
    assert (site["city"], site["country"], site["latitude"]) == ("Seoul", "KR", 37.6)
    assert site["up_mbps"] == 50
    assert (
        "site seoul was there already, and keeps: data old; city Seoul; "
        "position latitude 37.6, longitude 127; link up 50 Mbit/s"
    ) in again.err
    assert [one["path"] for one in replaced["datasets"]] == [str(tmp_path / "data.csv")] * 2


def test_a_site_that_moved_is_told_to_lose_its_rtts(cli, home, tmp_path):
    with serving(home) as app:
        with_sites(app, "oslo", latitude=59.9, longitude=10.7, rtt_ms={"aws:eu-north-1": 11.0})
        add = ("site", "add", "oslo", "--dataset", f"d={csv(tmp_path)}")
        stayed = cli(*add)
        moved = cli(*add, "--lat", "48.9", "--json")

    assert "RTTs to 1 regions" in stayed.out
    assert moved.document["rtt_ms"] == {}
    assert "its RTTs are forgotten: fedspan site measure oslo" in moved.err


def test_a_site_with_a_machine_of_its_own_is_not_made_this_computers(cli, home, tmp_path):
    with serving(home) as app:
        with_sites(app, "oslo", kind=SiteKind.AGENT)
        result = cli("site", "add", "oslo", "--dataset", f"d={csv(tmp_path)}", "--json")

    assert (result.code, result.document["error"]["type"]) == (5, "Conflict")
    assert "fedspan site delete oslo" in result.err


IN_A_CLOUD = ("--features", "30", "--classes", "benign, malignant", "--examples", "400")


def with_credential(app):
    examined = Examination(
        identity=Identity(subject="me", account="1"), permissions=(), regions=("RegionOne",)
    )
    row = Credential(
        name="clinic", provider=Cloud.OPENSTACK, registered=app.now(), examination=examined
    )
    app.store.write([app.credentials.put(row, "clinic", expected=0)])


def test_a_site_in_a_private_cloud_describes_data_that_only_its_machine_reads(cli, home):
    add = ("site", "add", "jeju", "--credential", "clinic", *IN_A_CLOUD)
    with serving(home) as app:
        with_credential(app)
        added = cli(*add, "--dataset", "cancer=/data/cancer.csv:diagnosis", "--json").document
        shown = cli("site", "show", "jeju").out
        moved = cli("site", "add", "jeju", "--dataset", "cancer=/nowhere.csv", "--json")

    assert (added["kind"], added["credential"]) == ("openstack", "clinic")
    assert added["datasets"] == [
        {
            "name": "cancer",
            "path": "/data/cancer.csv",
            "target": "diagnosis",
            "features": [30],
            "classes": ["benign", "malignant"],
            "examples": 400,
        }
    ]
    assert "in the cloud of credential clinic" in shown
    assert "cancer: /data/cancer.csv, classes in diagnosis" in shown
    assert moved.code != 0


def described(classes, features="30"):
    return ("--features", features, "--classes", classes, "--examples", "400")


@pytest.mark.parametrize(
    ("dataset", "more", "said"),
    [
        ("d=data.csv", IN_A_CLOUD, "no path on the site's machine"),
        ("d=/data/a.csv", (), "nobody can read it from here"),
        ("d=/data/a.csv", ("--features", "30", "--classes", "a,b"), "--examples 400"),
        ("d", IN_A_CLOUD, "want NAME=FILE"),
        ("d=/data/../etc/a.csv", IN_A_CLOUD, "has a `..`"),
        ("d=/srv/a.csv", IN_A_CLOUD, "is not below /data, which"),
        ("d=/database/a.csv", IN_A_CLOUD, "write /data/a.csv"),
        ("d=/data/a.parquet", IN_A_CLOUD, "is no .csv or .npz file"),
        ("d=/data", IN_A_CLOUD, "is no .csv or .npz file"),
        ("d=/data/a.csv", described("benign,benign,malignant"), "benign is there more than once"),
        ("d=/data/a.csv", described("benign,,malignant"), "--classes: one has no name"),
        ("d=/data/a.csv", described("benign"), "benign alone leaves nothing to tell apart"),
        ("d=/data/a.csv", described("a,b", "30x0"), "--features: '30x0' is no shape"),
    ],
)
def test_data_in_a_private_cloud_is_described_in_full(cli, home, dataset, more, said):
    with serving(home) as app:
        with_credential(app)
        result = cli("site", "add", "s", "--credential", "clinic", "--dataset", dataset, *more)

    assert result.code == 2
    assert said in result.err


def test_data_for_machines_of_test_clouds_may_lie_anywhere(cli, home, monkeypatch):
    """They are processes of this computer, without a container."""
    monkeypatch.setenv("FEDSPAN_ALLOW_LOOPBACK", "true")
    add = ("site", "add", "jeju", "--credential", "clinic", *IN_A_CLOUD, "--json")
    with serving(home) as app:
        with_credential(app)
        added = cli(*add, "--dataset", "d=/srv/a.csv").document
        refused = cli(*add, "--dataset", "d=/srv/../a.csv")

    assert added["datasets"][0]["path"] == "/srv/a.csv"
    assert "has a `..`" in refused.err


@pytest.mark.parametrize("option", ["--features=30", "--classes=x,y", "--examples=3"])
def test_what_a_file_says_itself_is_not_told_beside_it(cli, tmp_path, option):
    result = cli("site", "add", "seoul", "--dataset", f"d={csv(tmp_path)}", option)

    assert result.code == 2
    assert f"{option.partition('=')[0]}: only with --credential" in result.err


def test_what_a_sites_machine_must_have_is_told_kept_and_shown(cli, tmp_path):
    add = ("site", "add", "seoul", "--dataset", f"d={csv(tmp_path)}")
    first = cli(*add, "--vcpus", "4", "--json").document
    second = cli(*add, "--memory-mib", "8192", "--json").document
    again = cli(*add).out
    shown = cli("site", "show", "seoul").out

    assert (first["need"]["vcpus"], first["need"]["memory_mib"]) == (4, 2048)
    assert (second["need"]["vcpus"], second["need"]["memory_mib"]) == (4, 8192)
    assert "machine of 4 vCPU, 8,192 MiB" in again
    assert "4 vCPU, 8,192 MiB" in shown
    assert f"d:{tmp_path / 'data.csv'},classesintarget" in "".join(shown.split())


def test_people_see_where_a_site_is_and_how_far_from_the_clouds(cli, home, tmp_path):
    with serving(home) as app:
        told = {"aws:eu-north-1": 11.0, "aws:eu-west-1": 33.25}
        with_sites(
            app, "oslo", latitude=59.9, longitude=10.7, down_mbps=100.0, compute_s=1.5, rtt_ms=told
        )
        with_sites(app, "nowhere")
        shown, bare = cli("site", "show", "oslo").out, cli("site", "show", "nowhere").out
    lines = [" ".join(line.split()) for line in shown.splitlines()]

    assert "Position latitude 59.9, longitude 10.7" in lines
    assert "Link down 100 Mbit/s" in lines
    assert "Compute 1.5 s a round" in lines
    assert lines.index("aws:eu-north-1 11.0 -") < lines.index("aws:eu-west-1 33.2 -")
    assert "`fedspan site measure nowhere` measures some" in bare


def test_a_measured_rtt_has_its_date():
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    reached = Reached(median_ms=11.0, min_ms=10.0, answered=5, at=at)
    known = Measurement(site="oslo", reached={"aws:eu-north-1": reached})
    site = Site(name="oslo", rtt_ms={"aws:eu-north-1": 11.0, "aws:eu-west-1": 33.0})
    console = Console(file=io.StringIO(), width=80)
    for one in render_site.site(site, [], known):
        console.print(one)
    text = " ".join(console.file.getvalue().split())

    assert f"aws:eu-north-1 11.0 {at.astimezone():%Y-%m-%d %H:%M} aws:eu-west-1 33.0 -" in text


def test_a_file_may_have_a_colon_in_its_name(cli, tmp_path):
    csv(tmp_path, name="a:b.csv")

    result = cli("site", "add", "seoul", "--dataset", f"d={tmp_path}/a:b.csv", "--json")

    assert result.document["datasets"][0]["target"] == "target"


def test_a_path_is_kept_whole_wherever_it_was_named_from(cli, tmp_path, monkeypatch):
    csv(tmp_path)
    monkeypatch.chdir(tmp_path)

    result = cli("site", "add", "seoul", "--dataset", "d=data.csv", "--json")

    assert result.document["datasets"][0]["path"] == str(tmp_path / "data.csv")


@pytest.mark.parametrize(
    ("name", "dataset", "said"),
    [
        ("seoul", "no-file", "want NAME=FILE"),
        ("seoul", "d=", "want NAME=FILE"),
        ("seoul", "d=none.csv", "there is no file"),
        ("seoul", "d=data.csv:kind", "no column 'kind'"),
        ("seoul", "D D=data.csv", "name: "),
        ("Seoul!", "d=data.csv", "name: "),
    ],
)
def test_a_site_that_cannot_be_is_refused(cli, tmp_path, monkeypatch, name, dataset, said):
    csv(tmp_path)
    monkeypatch.chdir(tmp_path)

    result = cli("site", "add", name, "--dataset", dataset, "--json")

    assert result.code == 2
    assert said in result.err
    assert cli("site", "list", "--json").document == {"sites": []}


def test_a_site_in_use_is_not_deleted(cli, home, spec_file):
    with serving(home, act=train_until_cancelled) as app:
        id = cli("job", "submit", spec_file, "--json").document["job"]
        until(lambda: app.assignments.list("seoul"))
        result = cli("site", "delete", "seoul", "--json")
        cli("job", "cancel", id)

    assert (result.code, result.document["error"]["type"]) == (5, "Conflict")
