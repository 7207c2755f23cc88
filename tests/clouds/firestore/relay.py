"""A gRPC relay between a client and the emulator, for the faults that the emulator cannot have."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc


class FirestoreRelay(grpc.GenericRpcHandler):
    """Passes every call on, but for the faults: ``fail("Commit", code)`` refuses the next commit,
    with `after` only once it was made. Faults are taken in order; None lets a call pass."""

    host: str

    def __init__(self, target: str) -> None:
        self._target = target
        self._faults: dict[str, deque[tuple[grpc.StatusCode | None, bool, Any]]] = {}
        self.calls: list[str] = []

    def fail(
        self,
        method: str,
        *codes: grpc.StatusCode | None,
        after: bool = False,
        then: Callable[[], None] | None = None,
    ) -> None:
        """`then` is run when the emulator has done its part, before the client hears of it."""
        faults = self._faults.setdefault(method, deque())
        faults.extend((code, after, then) for code in codes)

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(8)
        self._channel = grpc.insecure_channel(self._target)
        self._server = grpc.server(self._pool, handlers=[self])
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()
        self._channel.close()
        self._pool.shutdown()

    def service(self, details: Any) -> Any:
        method = details.method
        name = method.rpartition("/")[2]
        if name == "Commit":
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: next(self._passed(name, method, request, context))
            )
        return grpc.unary_stream_rpc_method_handler(
            lambda request, context: self._passed(name, method, request, context)
        )

    def _passed(self, name: str, method: str, request: bytes, context: Any) -> Iterator[bytes]:
        self.calls.append(name)
        faults = self._faults.get(name)
        code, after, then = faults.popleft() if faults else (None, False, None)
        if code and not after:
            context.abort(code, "as asked")
        kept = [pair for pair in context.invocation_metadata() if pair[0] != "user-agent"]
        try:
            if name == "Commit":
                answers = [self._channel.unary_unary(method)(request, metadata=kept)]
            else:
                answers = list(self._channel.unary_stream(method)(request, metadata=kept))
        except grpc.RpcError as exc:
            context.abort(exc.code(), exc.details())
        if then:
            then()
        if code:
            yield from answers[:1] if name != "Commit" else []  # a stream breaks off
            context.abort(code, "as asked")
        yield from answers
