"""What the test cloud has: its catalogue, two projects, flavors, an image and a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openstack

from tests.clouds.openstack.configuration import ADMIN, REGION

CATALOGUE = {
    # type: (service, the path of its API)
    "placement": ("placement", ""),
    "image": ("glance", ""),
    "network": ("neutron", ""),
    "compute": ("nova", "/v2.1"),
}
PROJECTS = ("seoul", "busan")
FLAVORS = {
    # name: vCPUs, MiB; extra specs
    "fs.small": (1, 1024, {}),
    "fs.medium": (2, 4096, {}),
    "fs.large": (4, 8192, {}),
    "fs.unhosted": (8, 16_384, {"resources:CUSTOM_NOBODY_HAS_IT": "1"}),
}
QUOTA = {"instances": 20, "cores": 64, "ram": 131_072}
IMAGE, NETWORK = "fedspan-base", "fedspan-net"


def connection(
    login: Mapping[str, str], urls: Mapping[str, str]
) -> openstack.connection.Connection:
    """As a person with this password, whatever clouds the machine's own files know."""
    return openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        region_name=REGION,
        auth={"auth_url": urls["keystone"] + "/v3", "user_domain_id": "default", **login},
    )


def administrator(urls: Mapping[str, str]) -> openstack.connection.Connection:
    return connection({**ADMIN, "project_domain_id": "default"}, urls)


def fill_catalogue(admin: Any, urls: Mapping[str, str], region: str = REGION) -> None:
    """An entry for each service that `urls` has, in `region`."""
    known = {one.type: one for one in admin.identity.services()}
    for kind, (name, path) in CATALOGUE.items():
        if name not in urls:
            continue
        service = known.get(kind) or admin.identity.create_service(type=kind, name=name)
        for interface in ("public", "internal"):
            admin.identity.create_endpoint(
                service_id=service.id,
                interface=interface,
                region_id=region,
                url=urls[name] + path,
            )


def furnish(admin: Any, urls: Mapping[str, str]) -> dict[str, Any]:
    for name, (vcpus, memory, extra) in FLAVORS.items():
        flavor = admin.compute.create_flavor(name=name, vcpus=vcpus, ram=memory, disk=10)
        if extra:
            admin.compute.create_flavor_extra_specs(flavor, extra)
    for version in ("IPv4", "IPv6"):
        new_groups_have(admin, direction="egress", ethertype=version)
    image = admin.image.create_image(
        name=IMAGE,
        disk_format="raw",
        container_format="bare",
        visibility="public",
        data=b"\0" * 4096,
    )
    return {
        "auth_url": urls["keystone"] + "/v3",
        "region": REGION,
        "image": {"id": image.id, "name": IMAGE},
        "flavors": list(FLAVORS),
        "projects": {name: project(admin, urls, name) for name in PROJECTS},
    }


def new_groups_have(admin: Any, **rule: str) -> str:
    """Let security groups begin with a rule, and return its id. Clouds that were installed by
    migrations begin with two: all may go out."""
    made = admin.network.create_default_security_group_rule(
        used_in_default_sg=True, used_in_non_default_sg=True, **rule
    )
    return str(made.id)


def project(admin: Any, urls: Mapping[str, str], name: str) -> dict[str, Any]:
    """A project with a network of its own and one user, who has its name and is a member."""
    made = admin.identity.create_project(name=name, domain_id="default")
    admin.compute.update_quota_set(made.id, **QUOTA)
    login = member(admin, made.id, f"{name}-operator")
    with connection({**login, "project_id": made.id}, urls) as own:
        network = own.network.create_network(name=NETWORK)
        own.network.create_subnet(
            network_id=network.id, ip_version=4, cidr="10.77.0.0/24", enable_dhcp=False
        )
    return {
        "id": made.id,
        "project": name,
        **login,
        "network": {"id": network.id, "name": NETWORK},
    }


def member(admin: Any, project_id: str, name: str, role: str = "member") -> dict[str, str]:
    """A new user with a role in a project."""
    password = f"{name}-secret"
    user = admin.identity.create_user(name=name, password=password, domain_id="default")
    admin.identity.assign_project_role_to_user(project_id, user, admin.identity.find_role(role))
    return {"username": name, "password": password}
