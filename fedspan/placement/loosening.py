"""What limits would have to become together, where to loosen one of them is not enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedspan.domain.placements import Demand
from fedspan.placement.constraints import Constraint, all_met


def together(constraints: Sequence[Constraint], demands: Sequence[Demand]) -> tuple[str, ...]:
    """For each of the demands the nearest value that can be met along with the nearest of those
    before it, all other constraints kept: a deadline first, then the budget that it takes. Empty
    where one of them is no limit, or nothing it may be set to is enough."""
    names = {one.constraint for one in demands}
    broken = [one for one in constraints if one.name in names]
    kept = [one for one in constraints if one.name not in names]
    rows = np.flatnonzero(all_met(kept, constraints[0].met.size))
    said = []
    for one in broken:
        becomes = one.relaxed(rows) if one.values is not None and rows.size else None
        if one.values is None or becomes is None:
            return ()
        said.append(f"{one.name} {becomes}")
        values = one.values[rows]
        rows = rows[values <= np.ceil(values.min() / one.step) * one.step]
    return tuple(said)
