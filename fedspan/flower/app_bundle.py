"""A Flower app's folder: its bundle (FAB), and the configuration that its pyproject declares."""

from __future__ import annotations

import hashlib
import io
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedspan.domain.parsing import nearest
from fedspan.domain.spec import ROUNDS_KEY, AppValue
from fedspan.errors import InvalidRequest, NotFound
from fedspan.objects.base import Objects
from fedspan.services.examine import app_key

PYPROJECT: Final = "pyproject.toml"
MOST_BYTES: Final = 10 * 1024 * 1024
"""As Flower: larger files are data, and belong beside an app, not into it."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An app as it travels. `config` is what its pyproject says, by the names that its
    ``run_config`` has."""

    content: bytes
    name: str
    config: Mapping[str, AppValue]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def overridden(self, config: Mapping[str, AppValue]) -> dict[str, AppValue]:
        """`config`, each value in the type that the app declares for it.

        Raises:
            InvalidRequest: a key the app has not, or a value of another type.
        """
        return {key: self._typed(key, value) for key, value in config.items()}

    def parsed(self, settings: Sequence[str]) -> dict[str, AppValue]:
        """``key=value`` as a person writes it.

        Raises:
            InvalidRequest: as `overridden`, or no ``=``.
        """
        found: dict[str, AppValue] = {}
        for one in settings:
            key, sign, text = one.partition("=")
            if not sign or not key:
                raise InvalidRequest(f"--set: want KEY=VALUE, got {one!r}")
            found[key] = self._of_text(key, text)
        return found

    def run_config(self, config: Mapping[str, AppValue], rounds: int) -> dict[str, AppValue]:
        """What a run of `rounds` overrides: `config`, and the rounds where the app asks for them
        by Flower's name."""
        counted: dict[str, AppValue] = {ROUNDS_KEY: rounds} if ROUNDS_KEY in self.config else {}
        return self.overridden(config) | counted

    def _declared(self, key: str) -> AppValue:
        if key not in self.config:
            near = nearest(key, self.config) or "; it declares none"
            raise InvalidRequest(
                f"model.config: the app {self.name} has no setting {key!r} in "
                f"[tool.flwr.app.config]{near}"
            )
        return self.config[key]

    def _typed(self, key: str, value: AppValue) -> AppValue:
        declared = self._declared(key)
        if type(declared) is float and type(value) is int:
            return float(value)
        if type(declared) is not type(value):
            raise _wrong(key, declared, value)
        return value

    def _of_text(self, key: str, text: str) -> AppValue:
        declared = self._declared(key)
        try:
            match declared:
                case bool():
                    return {"true": True, "false": False}[text.lower()]
                case int():
                    return int(text)
                case float():
                    return float(text)
                case str():
                    return text
        except (ValueError, KeyError):
            raise _wrong(key, declared, text) from None


def build_app(folder: Path) -> Bundle:
    """The app in `folder`, bundled by Flower's own builder: what ``.gitignore`` and the app's own
    patterns leave out stays here.

    Raises:
        InvalidRequest: no folder, no Flower app, or one that is too large.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"model.app: there is no folder {folder}")
    if not (folder / PYPROJECT).is_file():
        raise InvalidRequest(f"model.app: {folder} has no {PYPROJECT}; want a Flower app's folder")
    try:
        from click import ClickException
        from flwr.cli.build import build_fab_from_disk
        from flwr.common.config import get_fab_config
    except ImportError as exc:
        raise InvalidRequest(
            'model.app: to bundle an app Flower is needed here: pip install "fedspan[train]"'
        ) from exc
    try:
        content = build_fab_from_disk(folder)
        get_fab_config(content)
    except (ValueError, ClickException) as exc:
        said = exc.format_message() if isinstance(exc, ClickException) else str(exc)
        raise InvalidRequest(f"model.app: {folder}: {' '.join(said.split())}") from None
    return read_bundle(content)


def read_bundle(content: bytes) -> Bundle:
    """The bundle in `content`, without any of its code.

    Raises:
        InvalidRequest: it is none.
    """
    if len(content) > MOST_BYTES:
        raise InvalidRequest(f"model.app: a bundle has at most {MOST_BYTES:,} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.getinfo(PYPROJECT).file_size > MOST_BYTES:
                raise InvalidRequest(f"model.app: the {PYPROJECT} of the bundle is too large")
            project = tomllib.loads(archive.read(PYPROJECT).decode())
        name, app = project["project"]["name"], project["tool"]["flwr"]["app"]
        return Bundle(content, str(name), _flat(app.get("config", {})))
    except (zipfile.BadZipFile, LookupError, TypeError, ValueError) as exc:
        raise InvalidRequest(f"model.app: no bundle of a Flower app: {exc}") from exc


def fetched(objects: Objects, sha256: str) -> Bundle:
    """The bundle that was uploaded under this hash.

    Raises:
        InvalidRequest: it is not there, or not what its name says.
        StoreError
    """
    try:
        content = objects.get(app_key(sha256))
    except NotFound:
        raise InvalidRequest(f"model.app: no app with the hash {sha256} was uploaded") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidRequest(f"model.app: {app_key(sha256)}: its bytes are not those uploaded")
    return read_bundle(content)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, AppValue]:
    """Nested tables as Flower names them: ``optimizer.rate``."""
    found: dict[str, AppValue] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, AppValue):
            found[f"{prefix}{key}"] = value
    return found


def _wrong(key: str, declared: AppValue, value: AppValue) -> InvalidRequest:
    want = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return InvalidRequest(
        f"model.config.{key}: want {want[type(declared)]} as in the app's {PYPROJECT} "
        f"({declared!r}), got {value!r}"
    )
