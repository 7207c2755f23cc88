"""What an installation is made of, counted in its files, and what it costs in a month in which
nobody submits anything.

Prices are the list's of us-east-1 and europe-west1, in US dollars, read in November 2026; other
regions differ by some percent. Every kind of resource in ``infra/`` has a line, those that cost
nothing while idle too: a test fails when a kind appears that has none.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MINUTES_A_MONTH: Final = 43_800


@dataclass(frozen=True, slots=True)
class Price:
    """Of one resource a month. The first `free` cost nothing, in the clouds' always-free tiers."""

    usd: float
    why: str
    source: str
    free: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    kind: str
    count: int
    usd: float
    usd_free_tier: float
    why: str


AWS: Final = "https://aws.amazon.com"
GOOGLE: Final = "https://cloud.google.com"
NOTHING: Final = Price(0, "costs nothing", "")


def _used(why: str, source: str) -> Price:
    return Price(0, why, source)


def a_sweep() -> float:
    """One on AWS that finds nothing open: a second of 256 MB, a request, four reads, its log."""
    lambda_seconds = 1.0 * 0.25 * 0.0000166667  # aws.amazon.com/lambda/pricing
    request = 0.20 / 1_000_000
    reads = 4 * 0.125 / 1_000_000  # aws.amazon.com/dynamodb/pricing/on-demand
    log = 1_000 / 1e9 * 0.50  # aws.amazon.com/cloudwatch/pricing
    return lambda_seconds + request + reads + log


def prices(sweep_minutes: float) -> Mapping[str, Price]:
    """By Terraform's name of the kind. AWS's sweep runs every `sweep_minutes`."""
    sweeps = MINUTES_A_MONTH / sweep_minutes if sweep_minutes else 0
    return {
        "aws_cloudwatch_event_rule": Price(
            sweeps * a_sweep(),
            f"{sweeps:,.0f} sweeps; Lambda's free million requests and 400,000 GB-s hold them",
            f"{AWS}/lambda/pricing/",
            free=1,
        ),
        "aws_cloudwatch_metric_alarm": Price(
            0.10, "each; ten are free", f"{AWS}/cloudwatch/pricing/", free=10
        ),
        "aws_kms_key": Price(
            1.00 + sweeps * 0.03 / 10_000,
            "each, and an unwrapped credential each sweep",
            f"{AWS}/kms/pricing/",
        ),
        "google_kms_crypto_key": Price(
            0.06, "each version; a rotation makes one", f"{GOOGLE}/kms/pricing"
        ),
        "google_cloud_scheduler_job": Price(
            0.10, "each; three are free", f"{GOOGLE}/scheduler/pricing", free=3
        ),
        "google_cloudfunctions2_function": Price(
            0.04, "its image, 0.4 GB in Artifact Registry", f"{GOOGLE}/artifact-registry/pricing"
        ),
        "google_monitoring_alert_policy": Price(
            0.25, "a condition, and the series it reads", f"{GOOGLE}/stackdriver/pricing"
        ),
        **_IDLE,
    }


_IDLE: Final[Mapping[str, Price]] = {
    "aws_dynamodb_table": _used("on demand; the first 25 GB are free", f"{AWS}/dynamodb/pricing/"),
    "aws_s3_bucket": _used("$0.023 a GB of models", f"{AWS}/s3/pricing/"),
    "aws_s3_object": _used("the package, some tens of MB", f"{AWS}/s3/pricing/"),
    "aws_ssm_parameter": _used("standard tier", f"{AWS}/systems-manager/pricing/"),
    "aws_lambda_function": _used("by the request", f"{AWS}/lambda/pricing/"),
    "aws_sfn_state_machine": _used("by the transition", f"{AWS}/step-functions/pricing/"),
    "aws_api_gateway_rest_api": _used("by the request", f"{AWS}/api-gateway/pricing/"),
    "aws_cloudwatch_log_group": _used("$0.50 a GB; five are free", f"{AWS}/cloudwatch/pricing/"),
    "aws_sns_topic": _used("by the message", f"{AWS}/sns/pricing/"),
    "aws_sns_topic_subscription": _used("by the message", f"{AWS}/sns/pricing/"),
    "aws_budgets_budget": _used(
        "without actions", f"{AWS}/aws-cost-management/aws-budgets/pricing/"
    ),
    "google_firestore_database": _used(
        "$0.15 a GB; the first is free", f"{GOOGLE}/firestore/pricing"
    ),
    "google_storage_bucket": _used("$0.02 a GB of models", f"{GOOGLE}/storage/pricing"),
    "google_storage_bucket_object": _used("a few MB", f"{GOOGLE}/storage/pricing"),
    "google_logging_project_bucket_config": _used(
        "$0.50 a GB; 50 are free", f"{GOOGLE}/stackdriver/pricing"
    ),
    **dict.fromkeys(
        (
            "aws_api_gateway_account",
            "aws_api_gateway_deployment",
            "aws_api_gateway_gateway_response",
            "aws_api_gateway_method_settings",
            "aws_api_gateway_stage",
            "aws_cloudwatch_event_target",
            "aws_iam_role",
            "aws_iam_role_policy",
            "aws_iam_role_policy_attachment",
            "aws_kms_alias",
            "aws_lambda_permission",
            "aws_s3_bucket_lifecycle_configuration",
            "aws_s3_bucket_ownership_controls",
            "aws_s3_bucket_policy",
            "aws_s3_bucket_public_access_block",
            "aws_s3_bucket_server_side_encryption_configuration",
            "aws_s3_bucket_versioning",
            "google_cloud_run_service_iam_member",
            "google_kms_crypto_key_iam_member",
            "google_kms_key_ring",
            "google_logging_project_sink",
            "google_monitoring_notification_channel",
            "google_project_iam_custom_role",
            "google_project_iam_member",
            "google_project_service",
            "google_service_account",
            "google_storage_bucket_iam_member",
        ),
        NOTHING,
    ),
}


def idle(counts: Mapping[str, int], sweep_minutes: float) -> list[Line]:
    """A line for each kind, the dearest first. Raises `KeyError` for a kind without a price."""
    known = prices(sweep_minutes)
    lines = [
        Line(
            kind,
            count,
            count * known[kind].usd,
            max(0, count - known[kind].free) * known[kind].usd,
            known[kind].why,
        )
        for kind, count in counts.items()
    ]
    return sorted(lines, key=lambda line: (-line.usd, line.kind))


def monthly(counts: Mapping[str, int], sweep_minutes: float) -> dict[str, Any]:
    """In US dollars, as ``--json`` shows it."""
    lines = idle(counts, sweep_minutes)
    return {
        "list_price": round(sum(line.usd for line in lines), 2),
        "free_tier": round(sum(line.usd_free_tier for line in lines), 2),
        "lines": [
            {"kind": one.kind, "count": one.count, "usd": round(one.usd, 3), "why": one.why}
            for one in lines
            if one.usd
        ],
    }


CHALICE: Final = "chalice.tf.json"
"""In a package for AWS: its functions and their schedules."""
BLOCK: Final = re.compile(r'^resource "(\w+)" "\w+" \{\n(.*?)^\}', re.DOTALL | re.MULTILINE)
OFF: Final = ("null", "false", "0")


def declared(
    folder: Path, package: Path | None = None, variables: Mapping[str, str] | None = None
) -> Counter[str]:
    """The resources that the files in `folder` make at least, by kind. What a ``for_each`` lists
    in its own block, in the map of functions or in the `package` is counted, and what a single one
    of the `variables` turns on; of what is computed from more, one."""
    text = "\n".join(file.read_text() for file in sorted(folder.glob("*.tf")))
    found: Counter[str] = Counter()
    for kind, body in BLOCK.findall(text):
        count = re.search(r"^  count\s+= (.*)$", body, re.MULTILINE)
        if count is None:
            found[kind] += _each(body, text, package)
        elif _is_set(count[1], text, variables or {}):
            found[kind] += 1
    return +found


def sweep_minutes(package: Path) -> float:
    """How often AWS's sweep runs, as packaged; 0 where Chalice packaged nothing."""
    if not (package / CHALICE).exists():
        return 0
    rules = json.loads((package / CHALICE).read_text())["resource"]
    [rule] = rules["aws_cloudwatch_event_rule"].values()
    number, unit = re.fullmatch(
        r"rate\((\d+) (minute|hour|day)s?\)", rule["schedule_expression"]
    ).groups()  # type: ignore[union-attr]
    return int(number) * {"minute": 1, "hour": 60, "day": 1440}[unit]


def packaged(package: Path | None, kind: str) -> int:
    """How many of a `kind` Chalice wrote; 0 where it wrote nothing."""
    if package is None or not (package / CHALICE).exists():
        return 0
    return len(json.loads((package / CHALICE).read_text())["resource"].get(kind, {}))


def _each(body: str, text: str, package: Path | None) -> int:
    """How many a block makes that has no count."""
    each = re.search(r"^  for_each\s+= (.*)$", body, re.MULTILINE)
    if each is None:
        return 1
    if each[1] == "local.functions":
        own = re.search(r"^  functions = \{\n(.*?)^  \}", text, re.DOTALL | re.MULTILINE)
        return len(own[1].splitlines()) if own else packaged(package, "aws_lambda_function") or 1
    if each[1] == "local.schedules":
        return packaged(package, "aws_cloudwatch_event_target") or 1
    listed = re.search(r"for_each\s+= toset\(\[([^]]*)\]\)", body)
    if listed and '"' in listed[1]:
        return listed[1].count('"') // 2
    mapped = re.search(r"for_each\s+= \{\n(.*?)^  \}", body, re.DOTALL | re.MULTILINE)
    if mapped:  # one that is computed may come out empty
        return len(re.findall(r"^    \w+\s+= ", mapped[1], re.MULTILINE))
    return 1


def _is_set(count: str, text: str, variables: Mapping[str, str]) -> bool:
    """Whether ``var.x ...`` in a count is on, with what was given or by default."""
    name = re.search(r"var\.(\w+)", count)
    if name is None:
        return False
    if name[1] in variables:
        return variables[name[1]] not in OFF
    default = re.search(
        rf'^variable "{name[1]}" \{{.*?^  default\s+= (\S+)', text, re.DOTALL | re.MULTILINE
    )
    return default is not None and default[1] not in OFF
