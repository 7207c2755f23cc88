"""Exit codes: one table for all errors, shown by ``fedspan --help``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fedspan import errors
from fedspan.domain.jobs import Job, JobState
from fedspan.errors import FedspanError

INTERRUPTED: Final = 130

MEANINGS: Final[Mapping[int, str]] = {
    0: "done; of a job: it succeeded",
    1: "the job failed, or something unexpected happened",
    2: "wrong usage, or input that cannot be right",
    3: "no control plane runs, one runs already, or its port is taken",
    4: "the job ran, but no round reached the threshold",
    5: "not found, or in conflict with what is there",
    6: "storage or a provider of machines failed, or no place fits",
    INTERRUPTED: "interrupted; a job that was this command's own was cancelled, "
    "and its machines are gone",
}

CODES: Final[Mapping[type[FedspanError], int]] = {
    FedspanError: 1,
    errors.InvalidRequest: 2,
    errors.TooLarge: 2,
    errors.Unsupported: 2,
    errors.LocalError: 3,
    errors.NoQualifyingRound: 4,
    errors.NotFound: 5,
    errors.Unauthorized: 5,
    errors.Conflict: 5,
    errors.StoreError: 6,
    errors.ProviderError: 6,
    errors.JobError: 1,
}
"""A class that is not here has the code of the nearest one above it."""


def code_of(error: type[FedspanError]) -> int:
    return next(CODES[cls] for cls in error.__mro__ if cls in CODES)


def code_of_job(job: Job) -> int:
    """How a command that waited for `job` exits."""
    if job.state is JobState.SUCCEEDED:
        return 0
    none_qualified = job.outcome is not None and job.outcome.code == "NoQualifyingRound"
    return CODES[errors.NoQualifyingRound] if none_qualified else CODES[errors.JobError]
