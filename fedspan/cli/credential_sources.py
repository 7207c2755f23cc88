"""Where a secret is read from: a terminal that does not show it, a file, the environment, or the
configuration of a cloud's own tools. Never an argument, which everybody on the computer can read.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fedspan.errors import InvalidRequest

STDIN: Final = "-"
MOST_BYTES: Final = 64 * 1024

AWS_VARIABLES: Final[Mapping[str, str]] = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}
OPENSTACK_VARIABLES: Final[Mapping[str, str]] = {
    "auth_url": "OS_AUTH_URL",
    "username": "OS_USERNAME",
    "password": "OS_PASSWORD",
    "project": "OS_PROJECT_NAME",
    "user_domain": "OS_USER_DOMAIN_NAME",
    "project_domain": "OS_PROJECT_DOMAIN_NAME",
    "application_credential_id": "OS_APPLICATION_CREDENTIAL_ID",
    "application_credential_secret": "OS_APPLICATION_CREDENTIAL_SECRET",
    "region": "OS_REGION_NAME",
}
CLOUDS_AUTH: Final[Mapping[str, str]] = {
    "auth_url": "auth_url",
    "username": "username",
    "password": "password",
    "project_name": "project",
    "user_domain_name": "user_domain",
    "project_domain_name": "project_domain",
    "application_credential_id": "application_credential_id",
    "application_credential_secret": "application_credential_secret",
}
"""Of ``auth`` in clouds.yaml; ids of domains and projects are not taken."""

Given = dict[str, Any]


def secret_text(what: str, option: str, file: str | None) -> str:
    """A secret of one line, from `file` (``-`` is stdin), else from the person at the terminal,
    which shows nothing of it, also where it is stdin.

    Raises:
        InvalidRequest: it cannot be read, is empty, or there is nobody to ask.
    """
    asked = file is None or (file == STDIN and sys.stdin.isatty())
    found = _asked(what, option) if asked or file is None else text_of(option, file)
    if not found.strip():
        raise InvalidRequest(f"{option}: the {what} is empty")
    return found.rstrip("\r\n")


def text_of(option: str, file: str) -> str:
    """What is in `file`, or comes on stdin for ``-``. Raises `InvalidRequest`."""
    try:
        if file == STDIN:
            raw = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(file).expanduser().open("rb") as opened:
                raw = opened.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise InvalidRequest(f"{option} {file}: has more than {MOST_BYTES // 1024} KiB")
        return raw.decode("utf-8-sig")
    except OSError as exc:
        said = (exc.strerror or "cannot be read").lower()
        raise InvalidRequest(f"{option} {file}: {said}") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{option} {file}: is no text in UTF-8") from None


def google_key(file: str) -> Given:
    """The key of a service account, as Google's console gives it."""
    try:
        found = json.loads(text_of("--key", file))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("type") != "service_account":
        raise InvalidRequest(
            f"--key {file}: is no key of a service account; Google's console makes one under IAM, "
            "service accounts, keys (JSON)"
        )
    return found


def from_env(variables: Mapping[str, str]) -> Given:
    """What the environment says. Raises `InvalidRequest` when that is nothing."""
    found = {field: os.environ[name] for field, name in variables.items() if os.environ.get(name)}
    if not found:
        raise InvalidRequest(f"--from-env: none of {', '.join(variables.values())} is set")
    return found


def openstack_from_env() -> Given:
    found, ca = from_env(OPENSTACK_VARIABLES), os.environ.get("OS_CACERT")
    return found | ({"ca": text_of("OS_CACERT", ca)} if ca else {})


def aws_profile(name: str) -> Given:
    """The keys of a profile, wherever AWS's own tools find them."""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        found = boto3.Session(profile_name=name).get_credentials()
        keys = found.get_frozen_credentials() if found else None
    except BotoCoreError as exc:
        raise InvalidRequest(f"--profile {name}: {exc}") from None
    if keys is None:
        raise InvalidRequest(f"--profile {name}: has no credentials")
    given = {"access_key_id": keys.access_key, "secret_access_key": keys.secret_key}
    return given | ({"session_token": keys.token} if keys.token else {})


def clouds_yaml(name: str) -> Given:
    """The cloud `name` of the clouds.yaml that OpenStack's own tools would read."""
    import yaml

    path = next((one for one in _clouds_files() if one.is_file()), None)
    if path is None:
        raise InvalidRequest(
            f"--cloud {name}: no clouds.yaml here, in ~/.config/openstack or /etc/openstack; "
            "OS_CLIENT_CONFIG_FILE can name one"
        )
    try:
        document = yaml.safe_load(text_of("--cloud", str(path)))
        clouds = document["clouds"]
        found = clouds[name]
        auth = found["auth"]
        region, ca = found.get("region_name"), found.get("cacert")
        unknown = sorted(map(str, auth.keys() - CLOUDS_AUTH.keys()))
    except yaml.YAMLError:  # whose message repeats the line
        raise InvalidRequest(f"--cloud {name}: {path}: is no YAML") from None
    except (KeyError, TypeError, AttributeError):
        raise InvalidRequest(
            f"--cloud {name}: {path}: has no cloud of that name with auth"
        ) from None
    if unknown:
        raise InvalidRequest(
            f"--cloud {name}: {path}: auth: {', '.join(unknown)} is not taken; known: "
            f"{', '.join(CLOUDS_AUTH)}"
        )
    given = {CLOUDS_AUTH[key]: str(value) for key, value in auth.items()}
    given |= {"region": str(region)} if region else {}
    return given | ({"ca": text_of("cacert", str(ca))} if ca else {})


def _clouds_files() -> list[Path]:
    named = os.environ.get("OS_CLIENT_CONFIG_FILE")
    if named:
        return [Path(named)]
    folders = (Path(), Path("~/.config/openstack").expanduser(), Path("/etc/openstack"))
    return [folder / "clouds.yaml" for folder in folders]


def _asked(what: str, option: str) -> str:
    instead = f"{option} FILE, or {option} - for standard input, gives the {what}"
    if not sys.stdin.isatty():
        raise InvalidRequest(f"there is no terminal to ask on; {instead}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"{what}: ")
    except getpass.GetPassWarning:
        raise InvalidRequest(f"this terminal would show what is typed; {instead}") from None
    except EOFError:
        return ""
