"""Keystone, Placement, Glance and Neutron as WSGI applications, each with its tables made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def keystone(state: Path) -> Any:
    from keystone.cmd import bootstrap
    from keystone.common import fernet_utils
    from keystone.common.sql import upgrades
    from keystone.server.flask import core

    def tables_and_keys() -> None:  # after the configuration is read, before the app loads
        upgrades.offline_sync_database_to_version()
        for group, folder in (("fernet_tokens", "fernet"), ("credential", "credential-keys")):
            keys = fernet_utils.FernetUtils(str(state / folder), 3, group)
            keys.initialize_key_repository()

    app = core.initialize_application("public", tables_and_keys, [f"{state}/keystone.conf"])
    bootstrap.backends.load_backends = lambda: None  # the app has loaded and locked them
    said = json.loads((state / "plane.json").read_text())
    first = bootstrap.Bootstrapper()
    first.admin_username, first.admin_password = (
        said["admin"]["username"],
        said["admin"]["password"],
    )
    first.project_name, first.admin_role_name = said["admin"]["project_name"], "admin"
    first.region_id, first.service_name = said["region"], "keystone"
    first.public_url = first.internal_url = said["urls"]["keystone"] + "/v3"
    first.bootstrap()
    bootstrap.PROVIDERS.assignment_api.add_role_to_user_and_project(
        first.admin_user_id, first.project_id, first.service_role_id
    )
    return app


def placement(state: Path) -> Any:
    os.environ["OS_PLACEMENT_CONFIG_DIR"] = str(state)
    from placement.wsgi.api import application

    return application


def glance(state: Path) -> Any:
    os.environ["OS_GLANCE_CONFIG_DIR"] = str(state)
    from glance.wsgi.api import application

    from glance.db.sqlalchemy import api, models  # isort: skip  (the first import configures)

    models.register_models(api.get_engine())
    return application


def neutron(state: Path) -> Any:
    os.environ |= {"OS_NEUTRON_CONFIG_DIR": str(state), "OS_NEUTRON_CONFIG_FILES": "neutron.conf"}
    import sqlalchemy.orm
    from neutron.db.migration.models import head  # imports every model

    engine = sqlalchemy.create_engine(f"sqlite:///{state}/neutron.db?timeout=60")
    head.get_metadata().create_all(engine)
    engine.dispose()
    from neutron.wsgi.api import application

    # Else a first "list ports" dies: there is no Port.port_forwardings yet.
    sqlalchemy.orm.configure_mappers()
    return application
