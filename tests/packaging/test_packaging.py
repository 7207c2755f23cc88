"""One wheel, and what Lambda gets is inside the zip."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "fedspan").rglob("*.py")
    if "_assets" not in path.parts
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    [made] = out.glob("*.whl")
    return made


def test_the_wheel_carries_what_the_embedded_default_runs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    for asset in (
        "functions/aws/app.py",
        "functions/aws/chalicelib/rest.py",
        "state_machines/federated_job.asl.json",
        "aggregator_image/entrypoint.py",
        "aggregator_image/server_app.py",
        "client_image/entrypoint.py",
        "client_image/client_app.py",
    ):
        assert f"fedspan/local/_assets/{asset}" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


@pytest.fixture(scope="session")
def deployment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("aws")
    command = [sys.executable, str(ROOT / "functions/aws/package.py"), str(wheel.parent), str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def test_chalice_ships_our_package_and_neither_torch_nor_flower(deployment: Path) -> None:
    names = zipfile.ZipFile(deployment / "deployment.zip").namelist()

    assert "fedspan/services/submit.py" in names
    assert "app.py" in names
    assert "chalicelib/rest.py" in names
    assert "pydantic/__init__.py" in names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"torch", "flwr", "moto", "sklearn"}


def test_the_zip_stays_far_below_lambdas_limit(deployment: Path) -> None:
    infos = zipfile.ZipFile(deployment / "deployment.zip").infolist()

    assert sum(info.file_size for info in infos) < 150 * 1024 * 1024  # Lambda takes 250 MB


def test_every_function_of_the_state_machine_is_in_the_template(deployment: Path) -> None:
    from fedspan.local.functions import handlers

    template = (deployment / "sam.json").read_text()
    for name in handlers():
        assert f'"app.{name}' in template or f"app.{name}" in template


def test_every_module_imports_in_an_empty_environment() -> None:
    program = f"import importlib\nfor name in {MODULES!r}: importlib.import_module(name)"
    ran = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program],
        env={},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr


def test_what_a_lambda_imports_needs_no_sdk_and_no_tensors() -> None:
    program = (
        "import sys; sys.path.insert(0, 'functions/aws'); import app\n"
        "heavy = {'torch', 'flwr', 'numpy', 'boto3', 'moto', 'obstore', 'sklearn', 'requests'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    # Chalice itself imports botocore, never boto3.
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
