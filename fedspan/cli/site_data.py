"""Data that ``fedspan site add`` offers: a file on this computer, or one that only the site's
machine reads, as a person describes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fedspan.domain.sites import Dataset

SUFFIXES: Final = (".csv", ".npz")


def described(option: str) -> Dataset:
    """``NAME=FILE`` or ``NAME=FILE:TARGET``, read and described.

    Raises:
        InvalidRequest, InvalidDataset
    """
    from fedspan.domain.parsing import parsed
    from fedspan.domain.sites import Dataset
    from fedspan.errors import InvalidRequest
    from fedspan.learning.datasets import describe

    name, place = _split(option)
    file, colon, target = place.rpartition(":")
    if Path(place).is_file() or not colon:
        file, target = place, "target"
    path = Path(file).expanduser().resolve()
    if not path.exists():
        raise InvalidRequest(f"--dataset {name}: there is no file {path}")
    found = {"path": str(path), "target": target, "features": (1,), "classes": ("0", "1")}
    parsed(Dataset, {**found, "name": name, "examples": 1})  # the name, before a long read
    return describe(name, path, target)


def only_with_credential(features: str, classes: str, examples: int) -> None:
    """Raises `InvalidRequest` for what would be ignored."""
    from fedspan.errors import InvalidRequest

    options = {"--features": features, "--classes": classes, "--examples": examples}
    if given := [option for option, value in options.items() if value]:
        raise InvalidRequest(
            f"{', '.join(given)}: only with --credential; a file on this computer is read, and "
            "says so itself"
        )


def told(option: str, features: str, classes: str, examples: int) -> Dataset:
    """Data that only the site's machine can read, as a person describes it.

    Raises:
        InvalidRequest: it is described in part, or where no container reads it.
    """
    from fedspan.domain.parsing import parsed
    from fedspan.domain.sites import Dataset
    from fedspan.errors import InvalidRequest

    name, place = _split(option)
    file, colon, target = place.rpartition(":")
    if not colon:
        file, target = place, "target"
    shape, known = features.split("x"), [one.strip() for one in classes.split(",")]
    wrong = list(_no_file_there(name, file))
    if not features or not classes or not examples:
        wrong.append(
            f"--dataset {name}: nobody can read it from here; say --features 30, "
            "--classes benign,malignant and --examples 400"
        )
    elif not all(re.fullmatch("[1-9][0-9]*", one) for one in shape):
        wrong.append(f"--features: {features!r} is no shape; write 30, or 28x28")
    if classes:
        wrong += _no_classes(known)
    if wrong:
        raise InvalidRequest(*wrong)
    said = {
        "name": name,
        "path": file,
        "target": target,
        "features": [int(one) for one in shape],
        "classes": known,
        "examples": examples,
    }
    return parsed(Dataset, said)


def _no_file_there(name: str, file: str) -> Iterator[str]:
    """Why no machine of a site can read it. The machines of test clouds are processes of this
    computer, with files anywhere."""
    from fedspan.providers.user_data import DATA
    from fedspan.settings import Settings

    path = PurePosixPath(file)
    anywhere = Settings.from_env(os.environ).allow_loopback
    if not path.is_absolute():
        yield (
            f"--dataset {name}: {file!r} is no path on the site's machine; write {DATA}/file.csv"
        )
    elif ".." in path.parts:
        yield f"--dataset {name}: {file!r} has a `..`; write the path itself"
    elif PurePosixPath(DATA) not in path.parents and not anywhere:
        yield (
            f"--dataset {name}: {file!r} is not below {DATA}, which is all that the container on "
            f"the site's machine sees; write {DATA}/{path.name or 'file.csv'}"
        )
    if path.suffix not in SUFFIXES:
        yield f"--dataset {name}: {file!r} is no .csv or .npz file"


def _no_classes(known: list[str]) -> Iterator[str]:
    if "" in known:
        yield "--classes: one has no name; write benign,malignant"
    elif repeated := [one for one in dict.fromkeys(known) if known.count(one) > 1]:
        yield f"--classes: {', '.join(repeated)} is there more than once"
    elif len(known) < 2:
        yield f"--classes: {known[0]} alone leaves nothing to tell apart; name two or more"


def _split(option: str) -> tuple[str, str]:
    from fedspan.errors import InvalidRequest

    name, sign, place = option.partition("=")
    if not name or not sign or not place:
        raise InvalidRequest(f"--dataset: want NAME=FILE or NAME=FILE:TARGET, got {option!r}")
    return name, place
