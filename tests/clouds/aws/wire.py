"""Between boto3 and moto: what AWS does and moto does not, what went over the wire, and faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import parse_qsl, urlencode

from fedspan.providers.aws.marks import OWNER
from fedspan.providers.aws.policy import PROBE_GROUP, PROBE_INSTANCE, PROBE_KEY_PAIR
from tests.clouds.proxy import Fault, FaultProxy

XML = {"Content-Type": "text/xml"}
SCP = (
    "You are not authorized to perform this operation. User: u is not authorized to perform: x "
    "with an explicit deny in a service control policy"
)
PROBES: Final = {PROBE_GROUP, PROBE_INSTANCE, PROBE_KEY_PAIR}
GUARDED: Final = {
    "TerminateInstances": ("InstanceId.", "DescribeInstances", "instance-id"),
    "DeleteKeyPair": ("KeyName", "DescribeKeyPairs", "key-name"),
    "DeleteSecurityGroup": ("GroupId", "DescribeSecurityGroups", "group-id"),
    "AuthorizeSecurityGroupIngress": ("GroupId", "DescribeSecurityGroups", "group-id"),
}
"""What our policy allows by the tag of a thing: where the call names it, and how it is found."""
ALIVE: Final = ("pending", "running", "shutting-down", "stopping", "stopped")


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
    `closed` an organisation lets nobody do anything; those that are `bare` have no default VPC.
    With `blind`, EC2 does not show instances yet. What is in `just_before` is done once, before the
    next call of its action. After `most` more calls nothing is let through; with `lost`
    the last of them is, and its answer is not.

    A launch with a token that was seen is answered with its instance, as EC2 does for a day; one
    that asks for something else by the same token is refused. IAM is as our policy has it: what
    ends or changes a thing is denied unless the thing is there and carries the tag of `owner` (of
    any, while that is empty). A group that an instance has is not deleted."""

    def __init__(self, target_url: str) -> None:
        super().__init__(target_url)
        self.calls: list[dict[str, str]] = []
        self.instead: dict[str, list[Fault]] = {}
        self.closed: set[str] = set()
        self.bare: set[str] = set()
        self.blind = False
        self.just_before: dict[str, Callable[[], object]] = {}
        self.owner = ""
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
            # Who one is, may be asked everywhere, whatever a policy says.
            if call["Region"] in self.closed and call["Service"] != "sts":
                return refusal("UnauthorizedOperation", 403, SCP)
            if call["Action"] in self.just_before:
                self.just_before.pop(call["Action"])()
            if self.instead.get(call["Action"]):
                return self.instead[call["Action"]].pop(0)
            said = self._as_aws(call, headers) or self._repeated(call, body)
            if said is None:
                said = super().forward(method, path, headers, body)
                if "ClientToken" in call and said.status == 200:
                    self.tokens[call["Region"], call["ClientToken"]] = body, said
            return refusal("Killed") if self.most == 0 and self.lost else said

    def _as_aws(self, call: dict[str, str], headers: list[tuple[str, str]]) -> Fault | None:
        """What AWS says of a call, where moto would say something else."""
        action = call["Action"]
        if self.blind and action == "DescribeInstances":
            return Fault(
                200, f"<{action}Response><reservationSet/></{action}Response>".encode(), XML
            )
        if call["Region"] in self.bare and action in ("CreateSecurityGroup", "RunInstances"):
            return refusal("VPCIdNotSpecified")
        if action in GUARDED:
            where, look, by = GUARDED[action]
            for name in [v for k, v in call.items() if k.startswith(where) and v not in PROBES]:
                tag = (f"tag:{OWNER}", [self.owner]) if self.owner else ("tag-key", [OWNER])
                if b"<item>" not in self._found(headers, look, (by, [name]), tag):
                    return refusal("UnauthorizedOperation", 403, "for it has no such tag")
        if action == "DeleteSecurityGroup":
            # No filter of moto's knows the groups of an instance's interfaces.
            alive = self._found(headers, "DescribeInstances", ("instance-state-name", ALIVE))
            if call["GroupId"].encode() in alive:
                return refusal("DependencyViolation")
        return None

    def _found(
        self, headers: list[tuple[str, str]], look: str, *by: tuple[str, Iterable[str]]
    ) -> bytes:
        form = {"Action": look, "Version": "2016-11-15"}
        for n, (name, values) in enumerate(by, 1):
            form[f"Filter.{n}.Name"] = name
            form |= {f"Filter.{n}.Value.{m}": one for m, one in enumerate(values, 1)}
        said = super().forward("POST", "/", headers, urlencode(form).encode())
        assert said.status == 200, said.body
        return said.body

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
