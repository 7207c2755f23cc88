"""Exit codes."""

from __future__ import annotations

import click
import pytest
import typer

from fedspan.cli.exits import CODES, MEANINGS, code_of
from fedspan.cli.main import app
from fedspan.errors import FedspanError, JobError, NoQualifyingRound, tree


@pytest.mark.parametrize("name", sorted(tree()))
def test_every_error_has_a_documented_exit_code(name):
    code = code_of(tree()[name])

    assert code in MEANINGS
    assert code != 0


def test_only_the_root_and_job_errors_count_as_a_failed_job():
    failed = {cls for cls in tree().values() if issubclass(cls, JobError)} - {NoQualifyingRound}

    assert {cls for cls in tree().values() if code_of(cls) == 1} == {FedspanError, *failed}


def test_the_table_names_no_class_twice_over():
    for cls, code in CODES.items():
        above = [CODES[base] for base in cls.__mro__[1:] if base in CODES]
        assert cls is FedspanError or above[0] != code or code == 1


def test_every_exit_code_stands_in_the_help(cli):
    shown = " ".join(cli("--help").out.split())

    for code, meaning in MEANINGS.items():
        assert f" {code} {meaning}" in shown


def commands(group, path=()):
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from commands(one, (*path, name))
        else:
            yield (*path, name), one


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_takes_home_and_json_and_explains_itself(path, cli):
    names = {option for one in ALL[path].params for option in one.opts}

    assert {"--home", "--json"} <= names
    assert ALL[path].help
    assert cli(*path, "--help").code == 0


JOB = ("init", "submit", "bill", "list", "show", "watch", "events", "cancel", "delete", "approve")


def test_the_commands_are_those_documented():
    assert {" ".join(path) for path in ALL} == {
        "demo",
        "place",
        "up",
        "down",
        "status",
        "token",
        "deploy",
        *(f"credential {one}" for one in ("list", "show", "check", "delete", "policy")),
        *(f"credential add {one}" for one in ("aws", "gcp", "openstack")),
        *(f"credential rotate {one}" for one in ("aws", "gcp", "openstack")),
        *(f"job {one}" for one in JOB),
        *(f"model {one}" for one in ("list", "show", "export", "delete")),
        *(f"book {one}" for one in ("show", "refresh", "diff")),
        *(f"site {one}" for one in ("add", "list", "show", "measure", "delete")),
    }
