"""Flower's Control API, spoken over loopback by the aggregator to its own SuperLink.

The calls and their messages are Flower's own; only their errors become ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from flwr.proto.control_pb2 import (
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.proto.transport_pb2 import Scalar
from flwr.supercore.control.control_http_client import ControlHttpClient

from fedspan.errors import AggregatorLost, InvalidRequest


@dataclass(frozen=True, slots=True)
class RunState:
    """Flower's word on a run: `status` is pending, starting, running or finished."""

    status: str
    sub_status: str
    details: str

    @property
    def finished(self) -> bool:
        return self.status == "finished"


class Control:
    """The SuperLink at `address`. Every call raises `InvalidRequest` when it refuses what was
    asked, and `AggregatorLost` when it does not answer."""

    def __init__(self, address: str, ca: Path) -> None:
        self._client = ControlHttpClient.from_server_address(address, False, str(ca), ())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def register_node(self, public_key: str) -> int:
        """Let the bearer of this key (PEM) in; returns Flower's id of the node."""
        with _answered("register-node"):
            request = RegisterNodeRequest(public_key=public_key.encode())
            return int(self._client.RegisterNode(request).node_id)

    def unregister_node(self, node_id: int) -> None:
        """Shut a node out for good; its key never comes back."""
        with _answered("unregister-node"):
            self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))

    def start_run(self, fab: bytes, config: Mapping[str, str | int | float | bool] = {}) -> int:
        """Start the app in `fab`; returns the run's id. `config` overrides keys its
        pyproject already has."""
        with _answered("start-run"):
            request = StartRunRequest(
                fab=Fab(hash_str=hashlib.sha256(fab).hexdigest(), content=fab),
                override_config={key: _scalar(value) for key, value in config.items()},
            )
            return int(self._client.StartRun(request).run_id)

    def runs(self) -> dict[int, RunState]:
        with _answered("list-runs"):
            found = self._client.ListRuns(ListRunsRequest()).run_dict
            return {
                run_id: RunState(run.status.status, run.status.sub_status, run.status.details)
                for run_id, run in found.items()
            }

    def stop_run(self, run_id: int) -> None:
        with _answered("stop-run"):
            self._client.StopRun(StopRunRequest(run_id=run_id))


def _scalar(value: str | int | float | bool) -> Scalar:
    match value:
        case bool():
            return Scalar(bool=value)
        case int():
            return Scalar(sint64=value)
        case float():
            return Scalar(double=value)
        case str():
            return Scalar(string=value)


@contextmanager
def _answered(call: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as exc:
        said = (
            f"SuperLink answered {call} with {exc.response.status_code}: {exc.response.text[:300]}"
        )
        refused = exc.response.is_client_error
        raise (InvalidRequest(said) if refused else AggregatorLost(said)) from exc
    except (httpx.HTTPError, ValueError) as exc:
        raise AggregatorLost(f"SuperLink did not answer {call}: {exc}") from exc
