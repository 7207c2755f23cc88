"""The configuration files of the five services, as an operator would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SERVICES = ("keystone", "placement", "glance", "neutron", "nova")
REGION = "RegionOne"
ADMIN = {"username": "admin", "password": "admin-secret", "project_name": "admin"}
FOLDERS = ("fernet", "credential-keys", "images", "staging", "tasks", "instances", "locks")
TOKEN_CACHE_SECONDS = 1
"""How long a service believes in a token that Keystone would no longer take."""


def write(state: Path, etc: Path, urls: Mapping[str, str]) -> None:
    """All of them, and the folders they name. `etc` is where the wheels put their paste files."""
    for name in FOLDERS:
        (state / name).mkdir(mode=0o700)
    texts = {
        "keystone.conf": _keystone(state),
        "placement.conf": _placement(state, urls),
        "glance-api.conf": _glance(state, etc, urls),
        "neutron.conf": _neutron(state, etc, urls),
        "nova.conf": _nova(state, urls),
    }
    for name, text in texts.items():
        (state / name).write_text(text)
    # Without an identity of its own nova-compute takes a restart for another machine.
    (state / "compute_id").write_text("00000000-0000-4000-8000-0000000000aa")


def database(state: Path, name: str) -> str:
    return f"sqlite:///{state}/{name}.db?timeout=60"


def _connection(state: Path, name: str) -> str:
    return f"connection = {database(state, name)}\nsqlite_synchronous = false\n"


def _logging(state: Path, name: str) -> str:
    return f"[DEFAULT]\nlog_file = {state}/{name}.log\n"


def _login(urls: Mapping[str, str]) -> str:
    """How one service logs in at another."""
    said = "".join(f"{name} = {value}\n" for name, value in ADMIN.items())
    return (
        f"auth_type = password\nauth_url = {urls['keystone']}/v3\nregion_name = {REGION}\n"
        f"user_domain_id = default\nproject_domain_id = default\n{said}"
    )


def _tokens(urls: Mapping[str, str], service_type: str) -> str:
    """How a service checks the tokens of its callers, and the access rules that come with them."""
    return (
        f"[keystone_authtoken]\nwww_authenticate_uri = {urls['keystone']}\n"
        f"service_type = {service_type}\ntoken_cache_time = {TOKEN_CACHE_SECONDS}\n{_login(urls)}"
    )


def _keystone(state: Path) -> str:
    # Receipts have keys too, from a place of their own: left out, Keystone looks in /etc.
    return f"""{_logging(state, "keystone")}
[database]
{_connection(state, "keystone")}
[fernet_tokens]
key_repository = {state}/fernet
[fernet_receipts]
key_repository = {state}/fernet
[credential]
key_repository = {state}/credential-keys
[cache]
backend = dogpile.cache.memory
enabled = true
[identity]
password_hash_rounds = 4
"""


def _placement(state: Path, urls: Mapping[str, str]) -> str:
    return f"""{_logging(state, "placement")}
[placement_database]
{_connection(state, "placement")}
sync_on_startup = true
{_tokens(urls, "placement")}
"""


def _glance(state: Path, etc: Path, urls: Mapping[str, str]) -> str:
    return f"""{_logging(state, "glance")}
enabled_backends = files:file
worker_self_reference_url = {urls["glance"]}
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = {state}/images
[os_glance_staging_store]
filesystem_store_datadir = {state}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {state}/tasks
[paste_deploy]
flavor = keystone
config_file = {etc}/glance/glance-api-paste.ini
[database]
{_connection(state, "glance")}
{_tokens(urls, "image")}
"""


def _neutron(state: Path, etc: Path, urls: Mapping[str, str]) -> str:
    return f"""{_logging(state, "neutron")}
core_plugin = ml2
service_plugins =
transport_url = fake://
auth_strategy = keystone
state_path = {state}
api_paste_config = {etc}/neutron/api-paste.ini
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false
[oslo_concurrency]
lock_path = {state}/locks
[ml2]
type_drivers = local
tenant_network_types = local
mechanism_drivers = bindall
extension_drivers = port_security
[database]
{_connection(state, "neutron")}
{_tokens(urls, "network")}
"""


def _nova(state: Path, urls: Mapping[str, str]) -> str:
    login = _login(urls)
    return f"""{_logging(state, "nova")}
state_path = {state}
transport_url = fake://
my_ip = 127.0.0.1
compute_driver = processes.ProcessDriver
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
sync_power_state_interval = 5
max_concurrent_builds = 0
[scheduler]
discover_hosts_in_cells_interval = -1
[oslo_concurrency]
lock_path = {state}/locks
[api]
auth_strategy = keystone
response_validation = ignore
[api_database]
{_connection(state, "nova_api")}
[database]
{_connection(state, "nova_cell1")}
{_tokens(urls, "compute")}
[placement]
{login}
[glance]
api_servers = {urls["glance"]}
[neutron]
{login}
[service_user]
send_service_user_token = true
{login}
"""
