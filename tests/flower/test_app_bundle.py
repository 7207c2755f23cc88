"""An app's folder as a bundle, and what may be set of it."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from flwr.common.config import get_fab_config, validate_config

from fedspan.errors import InvalidRequest
from fedspan.flower.app_bundle import build_app, fetched, read_bundle
from fedspan.objects.folder import FolderObjects
from fedspan.services.examine import app_key

DRIFTING = Path(__file__).parent / "apps" / "drifting"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drifting"
    shutil.copytree(DRIFTING, made, ignore=shutil.ignore_patterns("__pycache__"))
    return made


def test_a_bundle_is_flowers_own_and_the_same_every_time(folder: Path) -> None:
    one = build_app(folder)

    assert one.sha256 == build_app(DRIFTING).sha256
    assert validate_config(get_fab_config(one.content), check_module=False)[0]
    assert one.config["learning-rate"] == 0.5 and one.config["verbose"] is False


def test_a_setting_is_read_as_the_type_that_the_app_declares() -> None:
    found = build_app(DRIFTING).parsed(
        ["learning-rate=1", "verbose=TRUE", "strategy=a=b", "num-server-rounds=7"]
    )

    assert found == {
        "learning-rate": 1.0,
        "verbose": True,
        "strategy": "a=b",
        "num-server-rounds": 7,
    }
    assert type(found["learning-rate"]) is float


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("learning-rat=1", "no setting 'learning-rat' .*; did you mean 'learning-rate'"),
        ("learning-rate=fast", "want a number as in the app's pyproject.toml .* got 'fast'"),
        ("verbose=yes", "want true or false"),
        ("num-server-rounds=1.5", "want a whole number"),
        ("verbose", "--set: want KEY=VALUE, got 'verbose'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_what_could(setting: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        build_app(DRIFTING).parsed([setting])


def test_a_run_overrides_the_rounds_of_the_job_and_whole_numbers_may_be_rates() -> None:
    found = build_app(DRIFTING).run_config({"learning-rate": 1}, rounds=9)

    assert found == {"learning-rate": 1.0, "num-server-rounds": 9}


def _no_toml(folder: Path) -> None:
    (folder / "pyproject.toml").unlink()


def _no_app(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "plain"\nversion = "1"\n')


def _too_large(folder: Path) -> None:
    import random

    (folder / "drifting" / "table.py").write_bytes(random.Random(1).randbytes(11 * 2**20))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_no_toml, "has no pyproject.toml; want a Flower app's folder"),
        (_no_app, "Invalid Flower App configuration"),
        (_too_large, "exceeds maximum allowed size"),
        (shutil.rmtree, "there is no folder"),
    ],
)
def test_what_is_no_app_is_refused_in_a_sentence(folder: Path, change: Any, said: str) -> None:
    change(folder)

    with pytest.raises(InvalidRequest, match=said):
        build_app(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"x" * (11 * 2**20)])
def test_what_is_no_bundle_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"model\.app"):
        read_bundle(content)


def test_a_bundle_without_an_app_in_it_is_refused() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("pyproject.toml", '[project]\nname = "x"\n')

    with pytest.raises(InvalidRequest, match="no bundle of a Flower app"):
        read_bundle(made.getvalue())


def test_what_was_uploaded_is_fetched_and_nothing_else(tmp_path: Path) -> None:
    objects, one = FolderObjects(tmp_path), build_app(DRIFTING)
    objects.put(app_key(one.sha256), one.content)
    objects.put(app_key("0" * 64), b"another")

    assert fetched(objects, one.sha256) == one
    with pytest.raises(InvalidRequest, match="its bytes are not those uploaded"):
        fetched(objects, "0" * 64)
    with pytest.raises(InvalidRequest, match="was uploaded"):
        fetched(objects, "1" * 64)
