"""What Chalice generates: CloudFormation and Terraform say the same, and no linter objects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fedspan.local.functions import chalice_app


def api(package: Path) -> dict[str, Any]:
    template = json.loads((package / "chalice.tf.json").read_text())
    return dict(json.loads(template["locals"]["chalice_api_swagger"]))


def test_the_api_has_every_route_and_only_health_is_open(package: Path) -> None:
    routes = {
        (path, method.lower())
        for path, methods in chalice_app().routes.items()
        for method in methods
    }
    described = {
        (path, method): one.get("security")
        for path, methods in api(package)["paths"].items()
        for method, one in methods.items()
    }

    assert described.keys() == routes
    assert described.pop(("/v1/health", "get")) is None
    assert {json.dumps(one) for one in described.values()} == {'[{"authorize": []}]'}


def test_the_authorizer_reads_the_authorization_header(package: Path) -> None:
    authorizer = api(package)["securityDefinitions"]["authorize"]

    assert (authorizer["in"], authorizer["name"]) == ("header", "Authorization")
    assert authorizer["x-amazon-apigateway-authorizer"]["type"] == "token"


def test_cfn_lint_finds_no_fault_in_the_template(package: Path) -> None:
    lint = [str(Path(sys.executable).with_name("cfn-lint")), str(package / "sam.json")]
    ran = subprocess.run([*lint, "--regions", "eu-west-1"], capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_function_of_the_template_has_a_role_and_a_log_group(package: Path) -> None:
    resources = json.loads((package / "sam.json").read_text())["Resources"]
    functions = [one for one in resources.values() if one["Type"] == "AWS::Serverless::Function"]
    groups = [one for one in resources.values() if one["Type"] == "AWS::Logs::LogGroup"]
    roles = {one["Properties"]["Role"]["Fn::GetAtt"][0] for one in functions}

    assert len(roles) == len(functions) == len(groups)
    assert {one["Properties"]["RetentionInDays"] for one in groups} == {30}
