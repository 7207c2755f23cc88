"""Every error Fedspan raises on purpose.

::

    FedspanError
    ├── InvalidRequest           what the caller sent cannot be right
    │   ├── InvalidModel         layers that do not fit, a file that is no torch.export program
    │   └── InvalidDataset       a data file that cannot be read as described
    ├── Unauthorized             no token, or one that proves nothing
    ├── NotFound                 unknown, or not yours: the two look alike
    ├── Conflict                 someone else wrote first
    │   ├── IllegalMove          the lifecycle has no such step
    │   ├── StaleEpoch           a word from an incarnation that was replaced
    │   └── Superseded           an execution that a newer one has replaced
    ├── TooLarge                 a body over the limit
    ├── Unsupported              the adapter's capabilities exclude it
    ├── StoreError               metadata or objects could not be read or written
    │   ├── StoreUnavailable     passing: try again
    │   ├── StorageFull          no room left
    │   └── Corrupt              bytes that do not match their hash or format
    ├── ProviderError            a cloud said no, and we do not know better
    │   ├── NoCapacity           this offer is sold out just now
    │   ├── QuotaReached         the account may not have more of this
    │   ├── NotOffered           the cloud has no such region, machine type, image or network
    │   ├── Throttled            too many calls: try again
    │   ├── CloudUnavailable     no answer, or a failure of its own: try again
    │   ├── Denied               the credential lacks a permission
    │   └── CredentialRejected   the credential is wrong, expired or revoked
    ├── JobError                 why a job ended otherwise than hoped
    │   ├── JobCancelled         a person said so
    │   ├── AggregatorLost       it cannot go on: a part of it died, or it never spoke
    │   │   ├── HeartbeatMissed  it has not spoken for as long as it may
    │   │   ├── SpotNotice       the cloud has said that it takes the machine back
    │   │   ├── MachineGone      the cloud shows its machine ended, or none
    │   │   ├── DiskFull         its machine has no room left for what it must write
    │   │   ├── MachineUnreachable  it speaks, but no quorum of participants reaches it
    │   │   ├── LaunchRefused    the cloud started no machine of this offer
    │   │   ├── SlackSpent       the deadline leaves no time for another interruption
    │   │   └── BetweenRounds    given back while its participants train: no loss
    │   ├── ParticipantsMissing  fewer than the quorum connected or replied in time
    │   ├── TrainingFailed       the training itself went wrong
    │   ├── DeadlineExceeded     not done within the deadline of its spec
    │   ├── BudgetExceeded       its cost reached the budget of its spec
    │   └── NoQualifyingRound    no round reached the threshold of the selection
    └── LocalError               the embedded default on this machine
        ├── AlreadyRunning       another control plane has this home
        ├── NotRunning           no control plane on this home
        └── PortInUse            something else listens there

Class names are public: REST bodies and ``ErrorEquals`` of the state machines carry them, so
renaming one breaks callers. A message names the thing, its state, and what would help.
"""

from __future__ import annotations

LONGEST_PROBLEM = 2_000
"""Characters: what was sent is repeated only so far."""


class FedspanError(Exception):
    """Root of the tree. `http` is the status an API answers with."""

    http = 500
    retryable = False


class InvalidRequest(FedspanError):
    """`problems` holds one sentence a fault, each starting with the path of the field. Of many
    faults `fedspan.domain.parsing.refused` tells the first."""

    http = 400

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(
            one if len(one) <= LONGEST_PROBLEM else one[: LONGEST_PROBLEM - 3] + "..."
            for one in problems
        )
        super().__init__("; ".join(self.problems))


class InvalidModel(InvalidRequest):
    http = 422


class InvalidDataset(InvalidRequest):
    http = 422


class Unauthorized(FedspanError):
    http = 401


class NotFound(FedspanError):
    http = 404


class Conflict(FedspanError):
    http, retryable = 409, True


class IllegalMove(Conflict):
    retryable = False


class StaleEpoch(Conflict):
    retryable = False


class Superseded(Conflict):
    retryable = False


class TooLarge(FedspanError):
    http = 413


class Unsupported(FedspanError):
    http = 422


class StoreError(FedspanError):
    pass


class StoreUnavailable(StoreError):
    http, retryable = 503, True


class StorageFull(StoreError):
    http = 507


class Corrupt(StoreError):
    pass


class ProviderError(FedspanError):
    """`found` has what a listing saw all the same, where only a part of the cloud did not
    answer."""

    http = 502
    found: tuple[object, ...] = ()


class NoCapacity(ProviderError):
    http = 503


class QuotaReached(ProviderError):
    http = 503


class NotOffered(ProviderError):
    http = 422


class Throttled(ProviderError):
    http, retryable = 503, True


class CloudUnavailable(ProviderError):
    http, retryable = 503, True


class Denied(ProviderError):
    http = 403


class CredentialRejected(ProviderError):
    http = 422


class JobError(FedspanError):
    pass


class JobCancelled(JobError):
    http = 409


class AggregatorLost(JobError):
    pass


class HeartbeatMissed(AggregatorLost):
    pass


class SpotNotice(AggregatorLost):
    pass


class MachineGone(AggregatorLost):
    pass


class DiskFull(AggregatorLost):
    pass


class MachineUnreachable(AggregatorLost):
    pass


class LaunchRefused(AggregatorLost):
    pass


class SlackSpent(AggregatorLost):
    pass


class BetweenRounds(AggregatorLost):
    pass


class ParticipantsMissing(JobError):
    pass


class TrainingFailed(JobError):
    pass


class DeadlineExceeded(JobError):
    pass


class BudgetExceeded(JobError):
    pass


class NoQualifyingRound(JobError):
    pass


class LocalError(FedspanError):
    pass


class AlreadyRunning(LocalError):
    http = 409


class NotRunning(LocalError):
    http = 503


class PortInUse(LocalError):
    pass


def tree() -> dict[str, type[FedspanError]]:
    """Every class of the tree by its public name."""

    def below(cls: type[FedspanError]) -> dict[str, type[FedspanError]]:
        found = {cls.__name__: cls}
        for child in cls.__subclasses__():
            found |= below(child)
        return found

    return below(FedspanError)
