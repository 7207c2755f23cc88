"""The command as a whole: errors, help, what it imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fedspan import __version__
from tests.cli.conftest import ROOT, ended, serving

HEAVY = ("torch", "moto", "boto3", "botocore", "flwr", "numpy", "chalice", "sklearn")


def imported_by(*arguments, home="/nonexistent"):
    program = (
        "import sys; from fedspan.cli.main import run; run(sys.argv[1:]); "
        f"print([one for one in {HEAVY!r} if one in sys.modules], file=sys.stderr)"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": "", "FEDSPAN_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    ).stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["job", "submit", "--help"], ["demo", "--help"]]
)
def test_help_imports_nothing_heavy(arguments):
    assert imported_by(*arguments) == "[]"


def test_writing_a_spec_imports_nothing_heavy(tmp_path):
    assert imported_by("job", "init", "--file", str(tmp_path / "job.yaml")) == "[]"


def test_asking_a_running_control_plane_imports_nothing_heavy(home):
    with serving(home):
        assert imported_by("job", "list", home=home.path) == "[]"


def test_the_version_is_shown(cli):
    assert cli("--version").out == f"fedspan {__version__}\n"


def test_completion_prints_a_script(spawn):
    result = ended(spawn(_FEDSPAN_COMPLETE="source_bash"))

    assert result.code == 0
    assert "_fedspan_completion" in result.out
    assert result.err == ""


@pytest.mark.parametrize(
    "arguments",
    [["bogus"], ["job", "bogus"], ["job", "show"], ["job", "list", "--limit", "0"], ["up", "-x"]],
)
def test_wrong_usage_is_one_line_on_stderr_and_exits_with_2(cli, arguments):
    result = cli(*arguments)

    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "--help" in result.err


def test_wrong_usage_with_json_is_a_document_too(cli):
    result = cli("job", "bogus", "--json")

    assert result.code == 2
    assert result.document["error"]["type"] == "Usage"
    assert result.err.startswith("error: ")


def test_an_error_has_type_message_and_problems(cli):
    result = cli("job", "show", "nope", "--json")

    assert result.code == 5
    assert result.document == {
        "error": {"type": "NotFound", "message": "no job 'nope'", "problems": ["no job 'nope'"]}
    }
    assert result.err == "error: no job 'nope'\n"


def test_a_home_that_is_a_file_is_refused(cli, tmp_path):
    (tmp_path / "file").write_text("")

    result = cli("job", "list", "--home", tmp_path / "file")

    assert result.code == 2
    assert "is no folder" in result.err


def test_a_store_that_cannot_be_read_exits_with_6(cli, home):
    home.prepare()
    home.database.write_bytes(b"not a database, but long enough to look at" * 100)

    result = cli("job", "list", "--json")

    assert result.code == 6
    assert result.document["error"]["type"] == "Corrupt"


def test_the_unexpected_is_told_without_a_traceback(cli, home, monkeypatch):
    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("fedspan.cli.jobs.session", broken)

    result = cli("job", "list")

    assert result.code == 1
    assert "unexpected RuntimeError: boom" in result.err
    assert "Traceback" not in result.err


def test_debugging_shows_the_traceback(cli, monkeypatch):
    monkeypatch.setenv("FEDSPAN_DEBUG", "1")

    result = cli("job", "show", "nope", "--json")

    assert "Traceback" in result.err
    assert result.document["error"]["type"] == "NotFound"


def test_a_full_disk_exits_with_6(cli, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr("fedspan.local.home.Home.prepare", full)

    result = cli("job", "list", "--json")

    assert result.code == 6
    assert result.document["error"]["type"] == "StorageFull"
    assert "/somewhere" in result.err


@pytest.mark.parametrize(
    ("arguments", "redirected", "code", "said"),
    [
        ("job list --json", "> /dev/full", 6, "standard output: No space left on device"),
        ("job list", "> /dev/full", 6, "standard output: No space left on device"),
        ("job show nope --json", "> /dev/full", 5, "no job 'nope'"),
        ("job list --json", ">&-", 1, "standard output is closed"),
        ("job list", ">&-", 1, "standard output is closed"),
    ],
)
def test_an_output_that_takes_nothing_is_one_clear_error(home, arguments, redirected, code, said):
    done = subprocess.run(
        f"{sys.executable} -m fedspan.cli.main {arguments} {redirected}",
        shell=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/bin:/usr/bin", "FEDSPAN_HOME": str(home.path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_stderr_that_is_closed_costs_nothing(home):
    done = subprocess.run(
        f"{sys.executable} -m fedspan.cli.main job show nope --json 2>&-",
        shell=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/bin:/usr/bin", "FEDSPAN_HOME": str(home.path)},
        capture_output=True,
        text=True,
    )

    assert json.loads(done.stdout)["error"]["type"] == "NotFound"


def test_the_innermost_home_counts(cli, tmp_path):
    cli("--home", tmp_path / "a", "job", "--home", tmp_path / "b", "list")

    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b" / "fedspan.db").exists()


def test_json_may_stand_before_the_command(cli):
    assert cli("--json", "job", "list").document == {"jobs": []}


def test_a_reader_that_leaves_early_sees_no_traceback(home):
    done = subprocess.run(
        f"{sys.executable} -m fedspan.cli.main --help | true",
        shell=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/bin:/usr/bin", "FEDSPAN_HOME": str(home.path)},
        capture_output=True,
        text=True,
    )

    assert done.stderr == ""
