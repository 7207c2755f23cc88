"""The demo's participants: three hospitals that share no patient, and a job for them.

The data is the Breast Cancer Wisconsin (Diagnostic) set that scikit-learn carries (569
patients, 30 measurements of cell nuclei; Wolberg, Street and Mangasarian, 1995, CC BY 4.0).
The hospitals differ in size and in case mix, as hospitals do: Seoul's is the referral centre.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fedspan.domain.seeds import derive
from fedspan.domain.sites import Site, SiteKind
from fedspan.errors import Conflict
from fedspan.services.sites import with_datasets

DATASET: Final = "breast-cancer"
TARGET: Final = "diagnosis"
CLASSES: Final = ("malignant", "benign")
"""In scikit-learn's order."""

CITIES: Final = {
    "seoul": ("Seoul", 37.5665, 126.9780),
    "busan": ("Busan", 35.1796, 129.0756),
    "daejeon": ("Daejeon", 36.3504, 127.3845),
}

SHARES: Final = {"malignant": (0.60, 0.25, 0.15), "benign": (0.45, 0.30, 0.25)}
"""Of each diagnosis, the share that Seoul, Busan and Daejeon see."""


TRAINING_S: Final = 0.3
"""What a hospital's part of a round takes on a laptop."""


def write_hospitals(folder: Path, seed: int = 7) -> list[Site]:
    """Write one CSV a hospital into `folder`, and describe the three sites.

    The patients of each diagnosis are permuted by `seed` and dealt out by `SHARES`: 288, 160
    and 121 rows, of which 44, 33 and 26 % are malignant. The same seed writes the same bytes.
    """
    from fedspan.learning.datasets import describe

    folder.mkdir(parents=True, exist_ok=True)
    header, dealt = _patients(seed)
    sites = []
    for (name, (city, latitude, longitude)), rows in zip(CITIES.items(), dealt, strict=True):
        path = folder / f"{name}.csv"
        _write(path, header, rows)
        site = Site(
            name=name,
            kind=SiteKind.LOCAL,
            city=city,
            country="KR",
            latitude=latitude,
            longitude=longitude,
            compute_s=TRAINING_S,
            datasets=(describe(DATASET, path, TARGET),),
        )
        sites.append(site)
    return sites


def joined(known: Site, hospital: Site) -> Site:
    """A site that was here before, taking part in the demo: it gets the demo's data beside its
    own, and stays as it is.

    Raises:
        Conflict: its machine is elsewhere, where the demo's data is not.
    """
    if known.kind is not SiteKind.LOCAL:
        raise Conflict(
            f"site {known.name} is there already, and runs its own machine; "
            "`fedspan demo --home FOLDER` leaves it in peace"
        )
    return with_datasets(known, hospital.datasets)


def demo_spec(rounds: int = 10, seed: int = 7) -> dict[str, Any]:
    """A job for the three hospitals, as a person would write it.

    The model begins with batch norm, so that it takes measurements as they are: no site needs
    to know the means of the others.
    """
    return {
        "name": DATASET,
        "rounds": rounds,
        "seed": seed,
        "participants": list(CITIES),
        "model": {
            "layers": [
                {"batch_norm": {}},
                {"linear": 32},
                {"relu": {}},
                {"dropout": 0.1},
                {"linear": 2},
            ]
        },
        "data": {"dataset": DATASET, "target": TARGET, "positive": "malignant"},
        "training": {
            "optimizer": "adam",
            "learning_rate": 0.005,
            "batch_size": 32,
            "local_epochs": 2,
        },
        "strategy": {"name": "fedavg"},
        "selection": {"metric": "f1", "at_least": 0.9},
    }


def _patients(seed: int) -> tuple[list[str], list[list[list[object]]]]:
    """The header, and the rows of each hospital in the order they were dealt."""
    import numpy as np
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    header = [TARGET, *(str(name).replace(" ", "_") for name in found.feature_names)]
    random = np.random.Generator(np.random.PCG64(derive(seed, "hospitals")))
    dealt: list[list[list[object]]] = [[] for _ in CITIES]
    for index, diagnosis in enumerate(CLASSES):
        rows = random.permutation(np.flatnonzero(found.target == index))
        cuts = np.rint(np.cumsum(SHARES[diagnosis])[:-1] * len(rows)).astype(int)
        for hospital, part in zip(dealt, np.split(rows, cuts), strict=True):
            hospital += [[diagnosis, *found.data[row].tolist()] for row in part]
    for hospital in dealt:
        random.shuffle(hospital)
    return header, dealt


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """All of the file or nothing, and not again if it is there."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    wanted = text.getvalue().encode()
    if path.is_file() and path.read_bytes() == wanted:
        return
    part = path.with_name(path.name + ".part")
    part.write_bytes(wanted)
    part.replace(path)
