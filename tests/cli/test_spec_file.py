"""Job specs as files, good and bad."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import pytest

from fedspan.cli.spec_file import read_spec
from fedspan.domain.parsing import parsed
from fedspan.domain.spec import (
    MAX_SPEC_BYTES,
    AggregatorSpec,
    JobSpec,
    Limits,
    Need,
    PlacementSpec,
)
from fedspan.errors import InvalidRequest, TooLarge
from tests.cli.conftest import serving
from tests.support.world import spec_document


def written(tmp_path: Path, text: str | bytes, name: str = "job.yaml") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_the_spec_that_init_writes_is_valid(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    result = cli("job", "init", "my-own")

    assert result.code == 0
    assert parsed(JobSpec, read_spec("my-own.yaml")).name == "my-own"


def test_what_the_spec_of_init_shows_in_comments_is_valid_too():
    import yaml

    from fedspan.cli.template import spec

    lines = spec("my-own").splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("# aggregator:"))
    told = [line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in lines]
    document = yaml.safe_load("\n".join(["name: my-own", *lines[2:first], *told[first:]]))
    made = parsed(JobSpec, document)

    assert set(document["aggregator"]) == set(AggregatorSpec.model_fields)
    assert set(document["aggregator"]["need"]) == set(Need.model_fields)
    assert set(document["limits"]) == set(Limits.model_fields)
    assert made.aggregator.approve and made.notify
    assert made.placement.model_copy(update={"egress_used_gb": {}}) == PlacementSpec()


def test_init_does_not_overwrite_unless_told(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli("job", "init")
    Path("my-job.yaml").write_text("mine")

    refused = cli("job", "init", "--json")
    kept = Path("my-job.yaml").read_text()
    forced = cli("job", "init", "--force", "--json")

    assert (refused.code, refused.document["error"]["type"]) == (5, "Conflict")
    assert kept == "mine"
    assert forced.document == {"file": "my-job.yaml"}


def test_init_refuses_what_is_no_name(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    result = cli("job", "init", "My Job")

    assert result.code == 2
    assert list(tmp_path.glob("*.yaml")) == []


def test_yaml_and_json_say_the_same(tmp_path):
    document = spec_document()
    as_yaml = "\n".join(f"{key}: {json.dumps(value)}" for key, value in document.items())

    assert read_spec(written(tmp_path, as_yaml)) == document
    assert read_spec(written(tmp_path, json.dumps(document, indent="\t"), "a.json")) == document


def test_a_spec_comes_from_stdin(cli, home):
    with serving(home):
        result = cli(
            "job", "submit", "-", "--dry-run", "--json", stdin=json.dumps(spec_document()).encode()
        )

    assert result.document["valid"] is True


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("1e-3", 0.001),
        ("0.5", 0.5),
        ("010", 10),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("2h", "2h"),
        ("", None),
        ("~", None),
        ("'7'", "7"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_plain_values_mean_what_they_say(tmp_path, text, value):
    assert read_spec(written(tmp_path, f"a: {text}\n")) == {"a": value}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "name: [x\nb: y\n", "line 2, column 2: expected ',' or ']'"),
        ("a.yaml", "a: 1\n\tb: 2\n", "line 2, column 1: "),
        ("a.yaml", "a: 1\nb: {c: 1, c: 2}\n", "line 2, column 11: the key 'c' is there twice"),
        ("a.yaml", "a: &x [1]\nb: *x\n", "line 2, column 4: *x: aliases are not taken here"),
        ("a.yaml", "a: !!python/object:os.system x\n", "line 1, column 4: could not determine"),
        ("a.yaml", "a: !!binary aGVsbG8=\n", "bytes is not JSON serializable"),
        ("a.yaml", "a: 1\n---\nb: 2\n", "line 2, column 1: a second document begins here; a job"),
        ("a.yaml", "- 1\n- 2\n", "holds a list; want the keys of a job spec"),
        ("a.yaml", "# nothing\n", "is empty; want the keys of a job spec"),
        ("a.yaml", "a: \0", "special characters are not allowed"),
        ("a.yaml", b"a: \xff", "is no text in UTF-8"),
        ("a.yaml", "[" * 50_000, "is nested too deeply"),
        ("a.json", '{"a": 1,\n "a": 2}', "the key 'a' is there twice"),
        ("a.json", '{"a": 1,\n}', "line 2, column 1: "),
        ("a.json", "[" * 50_000, "is nested too deeply"),
    ],
)
def test_a_faulty_file_is_told_by_place(tmp_path, name, text, said):
    path = written(tmp_path, text, name)

    with pytest.raises(InvalidRequest) as caught:
        read_spec(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_a_spec_without_a_name_is_told(cli, home):
    submitted, placed = cli("job", "submit", ""), cli("place", "--spec", "")

    assert submitted.code == placed.code == 2
    assert "the name of the job spec is empty" in submitted.err
    assert submitted.err == placed.err


def test_a_job_takes_its_sites_by_name(cli, home, tmp_path):
    told = [{"name": "paris", "latitude": 48.9, "longitude": 2.4}, "seoul"]
    path = written(tmp_path, json.dumps(spec_document(participants=told)), "job.json")
    with serving(home):
        result = cli("job", "submit", path, "--dry-run")

    assert result.code == 2
    assert "participants: paris: a job takes registered sites, by name" in result.err


def test_a_spec_of_5_mb_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    path = written(tmp_path, b"[" * 5_000_000)
    monkeypatch.setattr("yaml.load", lambda *_: pytest.fail("parsed"))

    with pytest.raises(TooLarge, match="at most 256 KiB"):
        read_spec(path)


def test_a_spec_of_the_greatest_size_is_read(tmp_path):
    text = "a: 1\n#"

    assert read_spec(written(tmp_path, text.ljust(MAX_SPEC_BYTES, "x"))) == {"a": 1}


@pytest.mark.parametrize(("name", "said"), [("none.yaml", "no such file"), (".", "is a directory")])
def test_a_file_that_is_none_is_told(cli, tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)

    result = cli("job", "submit", name)

    assert result.code == 2
    assert said in result.err


def test_each_problem_of_a_spec_has_its_line(cli, home, tmp_path):
    document = spec_document(rounds=0, participants=["seoul", "seoul"], nmae="x")
    path = written(tmp_path, json.dumps(document), "a.json")

    with serving(home):
        shown, result = cli("job", "submit", path), cli("job", "submit", path, "--json")
        jobs = cli("job", "list", "--json").document["jobs"]

    assert shown.code == 2
    assert shown.err.splitlines() == ["error:", *(f"  {one}" for one in problems(result))]
    assert any("did you mean 'name'" in one for one in problems(result))
    assert jobs == []


def problems(result):
    return result.document["error"]["problems"]


def with_model(tmp_path: Path, file: str) -> str:
    return written(tmp_path, json.dumps(spec_document(model={"file": file})), "job.json")


def test_a_pickle_is_refused_by_its_content(cli, home, tmp_path):
    written(tmp_path, pickle.dumps({"a": 1}), "model.pt2")

    with serving(home):
        result = cli("job", "submit", with_model(tmp_path, "model.pt2"), "--json")

    assert result.code == 2
    assert result.document["error"]["type"] == "InvalidModel"
    assert not list((home.path / "objects").glob("uploads/*"))


def test_a_model_file_that_is_missing_is_told(cli, home, tmp_path):
    with serving(home):
        result = cli("job", "submit", with_model(tmp_path, "none.pt2"))

    assert result.code == 2
    assert f"model.file: {tmp_path / 'none.pt2'} is no file" in result.err


def program(path: Path, features: int) -> None:
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(features, 4), torch.nn.Linear(4, 2))
    shapes = ({0: torch.export.Dim("batch")},)
    made = torch.export.export(module, (torch.zeros(3, features),), dynamic_shapes=shapes)
    torch.export.save(made, path)


@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")  # torch's own, as it is saved
def test_a_model_file_is_found_beside_the_spec_and_stored_by_its_hash(
    cli, home, tmp_path, monkeypatch
):
    program(tmp_path / "model.pt2", 30)
    monkeypatch.chdir("/")

    with serving(home, act=lambda app, job: None):
        submitted = cli("job", "submit", with_model(tmp_path, "model.pt2"), "--json")
        job = cli("job", "list", "--json").document["jobs"][0]
    sha256 = job["spec"]["model"]["sha256"]

    assert submitted.code == 0
    assert (home.path / "objects" / "uploads" / f"{sha256}.pt2").read_bytes() == (
        tmp_path / "model.pt2"
    ).read_bytes()


@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")  # torch's own, as it is saved
def test_a_model_that_does_not_fit_the_data_is_refused(cli, home, tmp_path):
    program(tmp_path / "model.pt2", 29)

    with serving(home):
        result = cli("job", "submit", with_model(tmp_path, "model.pt2"), "--json")

    assert result.code == 2
    assert result.document["error"]["type"] == "InvalidModel"
    assert "(30,)" in result.document["error"]["message"]


def test_a_hash_that_is_not_the_files_is_refused(cli, home, tmp_path, monkeypatch):
    monkeypatch.setattr("fedspan.learning.programs.check_program", lambda path: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    written(tmp_path, b"program", "model.pt2")
    document = spec_document(model={"file": "model.pt2", "sha256": "0" * 64})
    path = written(tmp_path, json.dumps(document), "job.json")

    with serving(home):
        result = cli("job", "submit", path)

    assert result.code == 2
    assert "model.sha256" in result.err
