"""What is deployed, packaged without our code, and Terraform where it is to be had."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make package-aws` makes, but for our code and what it depends on."""
    out = tmp_path_factory.mktemp("package")
    subprocess.run(
        [sys.executable, str(ROOT / "functions/aws/package.py"), "--templates", str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="session")
def plugins() -> Path | None:
    """A folder with Terraform's provider for AWS, from TF_PLUGIN_DIR or where one usually lies;
    None: Terraform has to ask the registry."""
    named = os.environ.get("TF_PLUGIN_DIR")
    usual = [Path("~/.terraform.d/plugins").expanduser(), *Path("/opt").glob("*")]
    usual += [Path(f"/usr/{share}/terraform/plugins") for share in ("share", "local/share")]
    found = [at for at in usual if (at / "registry.terraform.io/hashicorp/aws").is_dir()]
    return Path(named) if named else (found or [None])[0]


Terraform = Callable[..., str]

WITHOUT_WAITING = 'resource "aws_s3_bucket_lifecycle_configuration" "objects" {\n  count = 0\n}\n'
"""The provider looks ten times, five seconds apart, whether S3 still says the same."""


@pytest.fixture(scope="session")
def terraform(
    plugins: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Sequence[str]], str]:
    """Runs it on a copy of infra/aws. Where it cannot, the summary of the run names what was left
    out: that needs Terraform and its provider, which neither PyPI nor Debian has."""
    if shutil.which("terraform") is None:
        pytest.skip("LEFT OUT: terraform validate, plan and apply; it is not on PATH")
    folder = tmp_path_factory.mktemp("terraform")
    for file in (INFRA / "aws").glob("*.tf"):
        shutil.copy(file, folder)
    (folder / "test_override.tf").write_text(WITHOUT_WAITING)

    def run(*words: str, fails: bool = False, **environment: str) -> str:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_"))}
        ran = subprocess.run(
            ["terraform", f"-chdir={folder}", *words],
            env={**kept, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert bool(ran.returncode) is fails, ran.stdout[-3000:] + ran.stderr
        return ran.stderr if fails else ran.stdout

    try:
        run("init", "-no-color", *([f"-plugin-dir={plugins}"] if plugins else []))
    except AssertionError as exc:
        if plugins is not None:
            raise
        pytest.skip(f"LEFT OUT: terraform validate, plan and apply; no provider: {exc}"[:300])
    return run


@contextlib.contextmanager
def moto_as_aws() -> Iterator[None]:
    """What AWS has and moto lacks, so that whole deployments pass: APIs in Swagger 2 (all that
    Chalice writes; moto refuses its first line, and reads the rest), two calls of Step Functions
    that Terraform makes (tests/state_machines judges the definition itself), and conditions in a
    bucket's policy: moto reads none, so it would deny all that comes without TLS and all else."""
    from moto.apigateway.models import APIGatewayBackend
    from moto.iam.access_control import PermissionResult

    put, create = APIGatewayBackend.put_rest_api, APIGatewayBackend.import_rest_api

    def put_rest_api(self: Any, function_id: str, api_doc: Any, *rest: Any, **more: Any) -> Any:
        document = {key: value for key, value in api_doc.items() if key != "swagger"}
        return put(self, function_id, document, *rest, **more)

    def import_rest_api(self: Any, api_doc: Any, *rest: Any) -> Any:
        api_doc["info"].setdefault("description", "")
        return create(self, api_doc, *rest)

    lacking = {
        "validate_state_machine_definition": {"result": "OK", "diagnostics": []},
        "list_state_machine_versions": {"stateMachineVersions": []},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(APIGatewayBackend, "put_rest_api", put_rest_api)
        patch.setattr(APIGatewayBackend, "import_rest_api", import_rest_api)
        neutral = PermissionResult.NEUTRAL
        patch.setattr("moto.s3.models.FakeBucket.get_permission", lambda *_: neutral)
        for action, answer in lacking.items():
            at = f"moto.stepfunctions.responses.StepFunctionResponse.{action}"
            patch.setattr(at, lambda _, said=answer: json.dumps(said), raising=False)
        yield
