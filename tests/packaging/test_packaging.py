"""One wheel, and what Lambda gets is inside the zip."""

from __future__ import annotations

import io
import json
import platform
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from packaging.requirements import Requirement

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


def test_the_zip_can_be_uploaded_directly(deployment: Path) -> None:
    """Lambda takes 50 MB so; boto3, the largest part, is in its runtime already."""
    made = deployment / "deployment.zip"
    tops = {name.split("/")[0] for name in zipfile.ZipFile(made).namelist()}

    assert made.stat().st_size < 50_000_000
    assert not tops & {"boto3", "botocore"}


def test_the_zip_drives_every_cloud(deployment: Path) -> None:
    names = zipfile.ZipFile(deployment / "deployment.zip").namelist()

    assert {"openstack/__init__.py", "google/auth/__init__.py", "requests/__init__.py"} <= {*names}
    assert "obstore/__init__.py" in names
    assert "cryptography/__init__.py" in names


def test_the_zip_holds_what_placement_needs(deployment: Path) -> None:
    names = zipfile.ZipFile(deployment / "deployment.zip").namelist()

    assert "numpy/__init__.py" in names
    assert "fedspan/placement/book.json" in names


QUESTION: dict[str, Any] = {
    "rounds": 20,
    "participants": [
        {"name": "seoul", "latitude": 37.57, "longitude": 126.98},
        {"name": "busan", "latitude": 35.18, "longitude": 129.08},
    ],
    "placement": {"model_bytes": 50_000_000},
}

PLACING = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy
from fedspan.domain.placements import PlacementQuestion
from fedspan.services.books import shipped
from fedspan.services.placements import score
from fedspan.wiring import app_on_gcp
question = PlacementQuestion.model_validate_json(sys.argv[2])
print(json.dumps({
    "numpy": numpy.__file__,
    "regions": len(shipped().regions),
    "candidates": len(score(app_on_gcp(), question, limit=3).candidates),
}))
"""


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the zip is for x86 Linux"
)
def test_the_unpacked_zip_places_with_nothing_else_at_hand(
    deployment: Path, tmp_path: Path
) -> None:
    zipfile.ZipFile(deployment / "deployment.zip").extractall(tmp_path)
    alone = [sys.executable, "-I", "-S", "-c", PLACING, str(tmp_path), json.dumps(QUESTION)]
    ran = subprocess.run(alone, env={}, cwd=tmp_path, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert seen["numpy"] == str(tmp_path / "numpy" / "__init__.py")
    assert seen["regions"] > 100
    assert seen["candidates"] == 3
    # Chalice packages for the Python it runs on, so what was tried is what Lambda runs.
    here = f'"Runtime": "python{sys.version_info.major}.{sys.version_info.minor}"'
    assert here in (deployment / "sam.json").read_text()


def test_a_zip_that_would_lack_a_dependency_is_refused(tmp_path: Path) -> None:
    needs = sdist_that_cannot_be_built(tmp_path)
    wheels, out = tmp_path / "dist", tmp_path / "out"
    wheels.mkdir()
    wheel_that_needs(f"fedspan-unbuildable @ {needs.as_uri()}", wheels)
    command = [sys.executable, str(ROOT / "functions/aws/package.py"), str(wheels), str(out)]
    ran = subprocess.run(command, capture_output=True, text=True)

    assert ran.returncode == 1
    assert "fedspan-unbuildable==1.0" in ran.stdout
    assert "lacks the dependencies" in ran.stderr
    assert not (out / "deployment.zip").exists()


def wheel_that_needs(requirement: str, folder: Path) -> None:
    info = "fedspan-0.0.1.dist-info"
    metadata = "Metadata-Version: 2.1\nName: fedspan\nVersion: 0.0.1\nProvides-Extra: aws\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / "fedspan-0.0.1-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", f"{metadata}Requires-Dist: {requirement}\n")
        file.writestr(f"{info}/WHEEL", tags)
        file.writestr(f"{info}/RECORD", "")


def sdist_that_cannot_be_built(folder: Path) -> Path:
    name = "fedspan_unbuildable-1.0"
    metadata = "Metadata-Version: 2.1\nName: fedspan-unbuildable\nVersion: 1.0\n"
    backend = f"""
import pathlib
def prepare_metadata_for_build_wheel(to, config_settings=None):
    info = pathlib.Path(to, "{name}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text({metadata!r})
    return info.name
def build_wheel(*_, **__):
    raise SystemExit("it cannot be built")
"""
    files = {
        "PKG-INFO": metadata,
        "backend.py": backend,
        "pyproject.toml": (
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        ),
    }
    made = folder / f"{name}.tar.gz"
    with tarfile.open(made, "w:gz") as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}/{path}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return made


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


@pytest.fixture(scope="session")
def staged(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gcp") / "out"
    command = [sys.executable, str(ROOT / "functions/gcp/package.py"), str(wheel.parent), str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def test_google_gets_main_its_requirements_and_our_package(staged: Path) -> None:
    tops = {path.name for path in staged.iterdir() if not path.name.endswith(".dist-info")}

    assert tops == {"main.py", "requirements.txt", "fedspan"}
    assert (staged / "fedspan/placement/book.json").exists()
    assert not list(staged.rglob("__pycache__"))


def test_what_google_installs_is_pinned_and_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["aws"], *extras["openstack"]]
    asked += [*extras["gcp"], *extras["gcp-functions"]]
    wanted = {one.name: one for one in map(Requirement, asked) if one.name != "fedspan"}
    lines = (ROOT / "functions/gcp/requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))

    assert pins.keys() == wanted.keys()
    for name, version in pins.items():
        assert re.fullmatch(r"[0-9.]+", version)
        assert version in wanted[name].specifier


@pytest.fixture(scope="session")
def google(staged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Google makes for the folder: its requirements, and nothing else. Their programs."""
    at = tmp_path_factory.mktemp("google")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(at)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(at / "bin/python"), "install", "--quiet"]
    # Most of what is installed is never imported: no time for its bytecode.
    install = [*pip, "--no-compile", "-r", str(staged / "requirements.txt")]
    subprocess.run(install, check=True)
    return at / "bin"


def test_what_google_installs_is_enough_for_every_cloud(google: Path, staged: Path) -> None:
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    parts = ("providers", "stores", "objects", "keys", "services")
    needed = [one for one in MODULES if one.split(".")[1:2] and one.split(".")[1] in parts]
    command = [str(google / "python"), "-c", program, "main", *needed]
    ran = subprocess.run(command, cwd=staged, env={}, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="session")
def cloud_function(google: Path, staged: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = ["functions-framework", "--target", "score_placement", "--host", "127.0.0.1"]
    served = subprocess.Popen(
        [str(google / serve[0]), *serve[1:], "--port", str(port)], cwd=staged, env={}
    )
    try:
        answering(served, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        served.send_signal(signal.SIGTERM)
        served.wait(30)


def answering(served: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        assert served.poll() is None, "functions-framework ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("functions-framework does not listen")


def test_the_cloud_function_answers_a_question(cloud_function: str) -> None:
    got = requests.post(f"{cloud_function}/?limit=3", json=QUESTION, timeout=60)

    assert (got.status_code, got.headers["Content-Type"]) == (200, "application/json")
    assert len(got.json()["candidates"]) == 3


def test_the_cloud_function_refuses_as_the_lambda_does(cloud_function: str) -> None:
    got = requests.post(cloud_function, json={**QUESTION, "roundz": 3}, timeout=60)

    assert (got.status_code, got.headers["Content-Type"]) == (400, "application/problem+json")
    assert got.json()["problems"] == ["roundz: unknown key; did you mean 'rounds'?"]
    assert requests.get(cloud_function, timeout=60).headers["Allow"] == "POST"
