"""The bundle, judged by Flower's own code."""

from __future__ import annotations

from pathlib import Path

from flwr.cli.install import install_from_fab
from flwr.clientapp import ClientApp
from flwr.common.config import get_fab_config, get_project_config, validate_config
from flwr.serverapp import ServerApp
from flwr.supercore.object_ref import load_app

import fedspan
from fedspan.flower.fab import build_fab


def test_the_bundle_is_the_same_bytes_every_time() -> None:
    assert build_fab() == build_fab()


def test_flower_finds_nothing_wrong_with_it() -> None:
    config = get_fab_config(build_fab())

    assert validate_config(config, check_module=False) == (True, [], [])
    assert config["project"]["version"] == fedspan.__version__


def test_flower_installs_it_and_loads_both_apps(tmp_path: Path) -> None:
    installed = install_from_fab(build_fab(), tmp_path, skip_prompt=True)
    components = get_project_config(installed)["tool"]["flwr"]["app"]["components"]
    apps = [
        load_app(components[one], RuntimeError, installed) for one in ("serverapp", "clientapp")
    ]

    assert [type(app) for app in apps] == [ServerApp, ClientApp]


def test_it_is_built_from_the_folders_it_is_given(tmp_path: Path) -> None:
    for app in ("aggregator_image/server_app.py", "client_image/client_app.py"):
        (tmp_path / app).parent.mkdir()
        (tmp_path / app).write_text("app = 1\n")

    assert build_fab(tmp_path) != build_fab()
