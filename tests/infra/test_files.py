"""What can be said of infra/ without Terraform: that it parses, fits the code, and is priced."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest

from fedspan.cli.idle_cost import declared, idle, prices
from fedspan.objects.keys import STAGING
from fedspan.providers.gcp.policy import PERMISSIONS
from fedspan.settings import Settings
from tests.infra.conftest import INFRA, ROOT

FILES = sorted(INFRA.glob("*/*.tf"))


def parsed(file: Path) -> dict[str, Any]:
    with file.open() as opened:
        return dict(hcl2.load(opened))


def resources(cloud: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, name and body."""
    return [
        (kind.strip('"'), name.strip('"'), body)
        for file in sorted((INFRA / cloud).glob("*.tf"))
        for block in parsed(file).get("resource", [])
        for kind, named in block.items()
        for name, body in named.items()
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_it_parses(file: Path) -> None:
    assert parsed(file)


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_every_kind_of_resource_has_a_price(cloud: str) -> None:
    kinds = {kind for kind, _, _ in resources(cloud)}

    assert kinds - prices(1).keys() == set()
    assert {
        one for one in prices(1) if one.startswith({"aws": "aws", "gcp": "google"}[cloud])
    } == kinds


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_idle_it_costs_less_than_a_dollar_without_any_free_tier(cloud: str) -> None:
    counts = declared(INFRA / cloud)
    if cloud == "aws":
        counts["aws_cloudwatch_metric_alarm"] = 6  # test_terraform counts them

    assert 0 < sum(line.usd for line in idle(counts, sweep_minutes=1)) < 1


def test_the_files_count_as_they_would_be_planned() -> None:
    counted = declared(INFRA / "gcp")

    assert counted["google_cloudfunctions2_function"] == 5
    assert counted["google_cloud_scheduler_job"] == 0  # sweep_minutes is 0 until somebody says so
    assert counted["google_storage_bucket"] == 2
    assert counted["google_cloud_run_service_iam_member"] == 1  # and of the callers none
    more = declared(INFRA / "gcp", variables={"sweep_minutes": "5"})
    assert more["google_cloud_scheduler_job"] == 1


def test_what_a_package_for_aws_has_is_counted(package: Path) -> None:
    counted = declared(INFRA / "aws", package, {"monthly_budget_usd": "0"})

    assert counted["aws_lambda_function"] == 19
    assert counted["aws_lambda_permission"] == 3
    assert counted["aws_cloudwatch_log_group"] == 19 + 2
    assert counted["aws_budgets_budget"] == 0


def test_every_function_deployed_on_google_is_an_entry_point() -> None:
    main = ast.parse((ROOT / "functions/gcp/main.py").read_text())
    defined = {node.name for node in main.body if isinstance(node, ast.FunctionDef)}
    [functions] = [
        one["functions"]
        for one in parsed(INFRA / "gcp/functions.tf")["locals"]
        if "functions" in one
    ]
    named = {name.strip('"') for name in functions if not name.startswith("__")}

    assert named == {"check_credential", "score_placement", "machines", "metadata", "sweep"}
    assert named <= defined


def test_googles_role_for_machines_is_the_policy_we_print() -> None:
    role = json.loads((INFRA / "gcp/machines.json").read_text())

    assert role == sorted(PERMISSIONS)


def owners(name: str, region: str) -> list[str]:
    """What infra/ marks machines with, in a region of each cloud: of AWS's functions, of Google's,
    and of Google's `machines`."""
    known = {"var.name": name, "var.region": region, "local.region": region}

    def worded(cloud: str, field: str) -> str:
        blocks = parsed(INFRA / cloud / "functions.tf")["locals"]
        [text] = [block[field].strip('"') for block in blocks if field in block]
        return re.sub(r"\$\{([\w.]+)\}", lambda it: known[it[1]], text)

    known["local.owner"] = worded("gcp", "owner")
    return [worded("aws", "owner"), known["local.owner"], worded("gcp", "remote_owner")]


def test_no_two_installations_mark_their_machines_alike() -> None:
    """A region may have the same name on two clouds; a name of ours may end as a region begins."""
    names, regions = (
        ["fedspan", "fedspan-aws", "f" * 20],
        ["europe-west1", "northamerica-northeast1"],
    )
    made = [one for name in names for region in regions for one in owners(name, region)]

    assert owners("fedspan", "europe-west1") == [
        "fedspan-aws-europe-west1",
        "fedspan-gcp-europe-west1",
        "fedspan-gcp-europe-west1-remote",
    ]
    assert len(set(made)) == len(made) == 18
    for one in made:
        Settings(owner=one)
        assert re.fullmatch(r"[a-z0-9_-]{1,63}", one)  # a label's value at Google


def test_every_function_on_google_is_told_its_owner() -> None:
    text = (INFRA / "gcp/functions.tf").read_text()

    assert text.count("FEDSPAN_OWNER") == 1
    assert '{ FEDSPAN_OWNER = each.key == "machines" ? local.remote_owner : local.owner }' in text


@pytest.mark.parametrize(
    ("callers", "said"),
    [
        ([], ""),
        (["serviceAccount:one@example.org"], ""),
        (["serviceAccount:one@example.org", "serviceAccount:two@example.org"], "One at most"),
        (["allUsers"], "are the public"),
    ],
    ids=["none", "one", "two", "everybody"],
)
def test_one_control_plane_calls_the_machines_of_google(
    tmp_path: Path, callers: list[str], said: str
) -> None:
    if shutil.which("terraform") is None:
        pytest.skip("LEFT OUT: validation of variables; terraform is not on PATH")
    shutil.copy(INFRA / "gcp/variables.tf", tmp_path)
    words = ["-var=project=p", "-var=package=p", f"-var=machines_callers={json.dumps(callers)}"]
    command = ["terraform", f"-chdir={tmp_path}", "plan", "-no-color", "-input=false", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180)

    assert bool(ran.returncode) is bool(said), ran.stderr
    assert said in ran.stderr


def test_nothing_on_google_is_for_everybody() -> None:
    text = "\n".join(file.read_text() for file in (INFRA / "gcp").glob("*.tf"))
    buckets = [body for kind, _, body in resources("gcp") if kind == "google_storage_bucket"]

    assert text.count("allUsers") == 4  # where callers refuse it, and say so
    assert [one["public_access_prevention"].strip('"') for one in buckets] == ["enforced"] * 2
    assert [one["uniform_bucket_level_access"] for one in buckets] == [True] * 2


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_uploads_that_nobody_finished_and_their_staging_go_by_themselves(cloud: str) -> None:
    text = (INFRA / cloud / "objects.tf").read_text()

    assert f'"{STAGING}/"' in text
    assert {"aws": "abort_incomplete_multipart_upload", "gcp": "AbortIncompleteMultipartUpload"}[
        cloud
    ] in text
