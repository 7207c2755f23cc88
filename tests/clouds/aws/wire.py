"""Between boto3 and moto: what AWS does and moto does not, what went over the wire, and faults."""

from __future__ import annotations

import threading
from urllib.parse import parse_qsl

from tests.clouds.proxy import Fault, FaultProxy

XML = {"Content-Type": "text/xml"}


def refusal(code: str, status: int = 400, message: str = "as the test wants it") -> Fault:
    """What EC2 says when it refuses."""
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        "<RequestID>r-1</RequestID></Response>"
    )
    return Fault(status, body.encode(), XML)


class Wire(FaultProxy):
    """`calls` has the parameters of every call, its `Region` and `Service` among them. Of calls
    whose action is in `instead`, the next ones are answered with these. In regions that are
    `closed` nobody may do anything. After `most` more calls nothing is let through; with `lost`
    the last of them is, and its answer is not.

    A launch with a token that was seen is answered with its instance, as EC2 does for a day; one
    that asks for something else by the same token is refused."""

    def __init__(self, target_url: str) -> None:
        super().__init__(target_url)
        self.calls: list[dict[str, str]] = []
        self.instead: dict[str, list[Fault]] = {}
        self.closed: set[str] = set()
        self.most: int | None = None
        self.lost = False
        self.tokens: dict[tuple[str, str], tuple[bytes, Fault]] = {}
        self._one_at_a_time = threading.Lock()

    def actions(self) -> list[str]:
        """As policies name them."""
        return [f"{one['Service']}:{one['Action']}" for one in self.calls]

    def of(self, action: str) -> list[dict[str, str]]:
        return [one for one in self.calls if one["Action"] == action]

    def forward(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Fault:
        with self._one_at_a_time:
            call = _call(headers, body)
            self.calls.append(call)
            if self.most == 0:
                return refusal("Killed")
            if self.most is not None:
                self.most -= 1
            if call["Region"] in self.closed:
                return refusal("UnauthorizedOperation", 403)
            if self.instead.get(call["Action"]):
                return self.instead[call["Action"]].pop(0)
            said = self._repeated(call, body)
            if said is None:
                said = super().forward(method, path, headers, body)
                if "ClientToken" in call and said.status == 200:
                    self.tokens[call["Region"], call["ClientToken"]] = body, said
            return refusal("Killed") if self.most == 0 and self.lost else said

    def _repeated(self, call: dict[str, str], body: bytes) -> Fault | None:
        known = self.tokens.get((call["Region"], call.get("ClientToken", "")))
        if known is None:
            return None
        return known[1] if known[0] == body else refusal("IdempotentParameterMismatch")


def _call(headers: list[tuple[str, str]], body: bytes) -> dict[str, str]:
    """EC2 and STS are asked by a form, Systems Manager in JSON with its action in a header."""
    said = {name.lower(): value for name, value in headers}
    scope = said["authorization"].partition("Credential=")[2].split("/")
    action = said.get("x-amz-target", "").rpartition(".")[2]
    form = dict(parse_qsl(body.decode())) if not action else {"Action": action}
    return form | {"Region": scope[2], "Service": scope[3]}
