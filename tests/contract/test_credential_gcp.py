"""What a Google key proves, and every way in which it proves nothing."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator

import pytest

from fedspan.domain.credentials import Examination
from fedspan.errors import (
    CloudUnavailable,
    CredentialRejected,
    Denied,
    InvalidRequest,
    NotOffered,
    ProviderError,
    Throttled,
)
from fedspan.providers.gcp.check import LOOKING, examine
from fedspan.providers.gcp.errors import TOKEN_CODES, Refused
from fedspan.providers.gcp.policy import PERMISSIONS, WITH_ACCOUNT, policy
from tests.clouds.gcp.accounts import private_key
from tests.clouds.gcp.fixtures import GcpProject
from tests.clouds.gcp.projects import COMPUTE, PROJECTS, REGIONS
from tests.contract.test_provider_gcp import spec_of
from tests.contract.test_providers import NEED, gone


def examined(project: GcpProject, **changes: object) -> Examination:
    return examine(project.secret.model_copy(update=changes), project.around())


@pytest.fixture
def another(gcp_project: GcpProject) -> Iterator[GcpProject]:
    server = gcp_project.server
    state = server.project("another-project")
    yield GcpProject(server, state, server.key(state))
    del server.projects[state.id]


class TestAnExamination:
    def test_says_who_it_is_and_what_it_may_do(self, gcp_project: GcpProject) -> None:
        found = examined(gcp_project)

        assert found.identity.subject == f"fedspan@{gcp_project.state.id}.iam.gserviceaccount.com"
        assert found.identity.account == gcp_project.state.id
        assert found.regions == tuple(REGIONS)
        assert found.missing == ()
        assert "vCPUs left of the quota: from 24 in europe-west1" in found.notes[0]

    def test_makes_and_changes_nothing(self, gcp_project: GcpProject) -> None:
        examined(gcp_project)

        assert gcp_project.state.calls == [
            "projects.testIamPermissions",
            "regions.list",
            "networks.get",
        ]

    def test_shows_no_secret(self, gcp_project: GcpProject) -> None:
        assert "PRIVATE" not in examined(gcp_project).model_dump_json()

    def test_lists_exactly_what_is_missing(self, gcp_project: GcpProject) -> None:
        lacking = {"compute.instances.delete", "compute.firewalls.create"}
        gcp_project.state.permissions = frozenset(PERMISSIONS.keys() - lacking)

        assert set(examined(gcp_project).missing) == lacking

    def test_without_any_role_lists_everything_as_missing(self, gcp_project: GcpProject) -> None:
        gcp_project.state.permissions = frozenset()
        found = examined(gcp_project, regions=("us-east1",))

        assert set(found.missing) == set(PERMISSIONS)
        assert found.regions == ("us-east1",)
        assert "compute.regions.list is missing" in found.notes[0]

    def test_keeps_to_the_regions_that_were_chosen(self, gcp_project: GcpProject) -> None:
        assert examined(gcp_project, regions=("us-east1",)).regions == ("us-east1",)

    def test_names_a_region_that_is_not_there(self, gcp_project: GcpProject) -> None:
        with pytest.raises(NotOffered, match="has no region mars-north1; it has europe-west1,"):
            examined(gcp_project, regions=("us-east1", "mars-north1"))


class TestAKeyThatIsRejected:
    def test_was_revoked(self, gcp_project: GcpProject) -> None:
        gcp_project.server.revoke(gcp_project.secret)

        with pytest.raises(CredentialRejected, match=r"Invalid JWT Signature\."):
            examined(gcp_project)

    def test_has_a_wrong_private_key(self, gcp_project: GcpProject) -> None:
        wrong = gcp_project.server.key(gcp_project.state, private_key=private_key("wrong"))

        with pytest.raises(CredentialRejected, match=r"Invalid JWT Signature\."):
            examine(wrong, gcp_project.around())

    def test_has_a_private_key_that_is_none(self, gcp_project: GcpProject) -> None:
        text = "-----BEGIN PRIVATE KEY-----\nbm9uZQ==\n-----END PRIVATE KEY-----"
        broken = gcp_project.server.key(gcp_project.state, private_key=text)

        with pytest.raises(CredentialRejected, match="cannot be read"):
            examine(broken, gcp_project.around())

    def test_is_of_an_account_that_was_deleted(self, gcp_project: GcpProject) -> None:
        del gcp_project.server.accounts.by_email[gcp_project.secret.client_email]

        with pytest.raises(CredentialRejected, match="account not found"):
            examined(gcp_project)

    @pytest.mark.parametrize("skew_s", [-7200, 7200])
    def test_is_used_by_a_clock_that_is_wrong(self, gcp_project: GcpProject, skew_s: float) -> None:
        gcp_project.server.skew_s = skew_s

        with pytest.raises(CredentialRejected, match="clock of this computer is not Google's"):
            examined(gcp_project)

    def test_is_of_another_project(self, gcp_project: GcpProject, another: GcpProject) -> None:
        with pytest.raises(CredentialRejected, match="has no part in the project another-project"):
            examined(gcp_project, project_id=another.state.id)

    def test_is_of_a_project_that_is_not_there(self, gcp_project: GcpProject) -> None:
        with pytest.raises(CredentialRejected, match="there is no such project"):
            examined(gcp_project, project_id="no-such-project")


class TestTheTokenEndpoint:
    @pytest.mark.parametrize("code", TOKEN_CODES)
    def test_refuses_by_table(self, gcp_project: GcpProject, code: str) -> None:
        gcp_project.state.token_error = {"error": code, "error_description": "No."}

        with pytest.raises(TOKEN_CODES[code], match="refresh the key"):
            examined(gcp_project)

    def test_refuses_in_a_way_nobody_knows(self, gcp_project: GcpProject) -> None:
        gcp_project.state.token_error = {"error": "something_new", "error_description": "No."}

        with pytest.raises(ProviderError) as caught:
            examined(gcp_project)
        assert type(caught.value) is ProviderError

    def test_is_down(self, gcp_project: GcpProject) -> None:
        gcp_project.state.fail("token", 503, "backendError", times=9)

        with pytest.raises(CloudUnavailable):
            examined(gcp_project)

    def test_hangs_up(self, gcp_project: GcpProject) -> None:
        gcp_project.state.drop("token", after=False, times=9)

        with pytest.raises(CloudUnavailable, match="no answer"):
            examined(gcp_project)

    @pytest.mark.parametrize(
        "uri",
        [
            "http://169.254.169.254/computeMetadata/v1/",
            "http://metadata.google.internal/computeMetadata/v1/",
            "https://oauth2.googleapis.com.example.org/token",
            "https://oauth2.googleapis.com@192.0.2.1/token",
            "https://10.0.0.1/token",
            "file:///etc/passwd",
            "token",
        ],
    )
    def test_is_where_google_is_or_is_not_asked(self, gcp_project: GcpProject, uri: str) -> None:
        with pytest.raises(InvalidRequest, match=r"^token_uri: "):
            examined(gcp_project, token_uri=uri)
        assert gcp_project.state.calls == []

    @pytest.mark.parametrize(
        "uri",
        [
            "https://[",
            "https://[hush",
            "https://oauth2.googleapis.com:hush/token",
            "https://hush\u2100.example.org/token",
            "https://hush/token",
            "http://hush:hush@169.254.169.254/hush",
            "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----",
            "hush",
        ],
    )
    def test_is_not_repeated_whatever_stands_there(self, gcp_project: GcpProject, uri: str) -> None:
        with pytest.raises(InvalidRequest, match=r"^token_uri: is not where Google") as caught:
            examined(gcp_project, token_uri=uri)
        said = traceback.format_exception_only(caught.value)
        assert "hush" not in "".join(said)
        assert caught.value.__context__ is None

    def test_is_on_loopback_only_where_that_is_allowed(self, gcp_project: GcpProject) -> None:
        with pytest.raises(InvalidRequest, match=r"^token_uri: "):
            examine(gcp_project.secret, gcp_project.around(allow_loopback=False))

    def test_of_google_is_not_asked_in_plain_text(self, gcp_project: GcpProject) -> None:
        around = gcp_project.around(allow_loopback=False)
        plain = gcp_project.secret.model_copy(
            update={"token_uri": "http://oauth2.googleapis.com/token"}
        )

        with pytest.raises(InvalidRequest, match="no https URL"):
            examine(plain, around)


class TestAProjectThatIsNotReady:
    @pytest.mark.parametrize(
        ("api", "name"),
        [(COMPUTE, "Compute Engine API"), (PROJECTS, "Cloud Resource Manager API")],
    )
    def test_lacks_an_api(self, gcp_project: GcpProject, api: str, name: str) -> None:
        gcp_project.state.disabled.add(api)

        with pytest.raises(Denied, match=f"{name} has not been used.*Enable it by visiting https"):
            examined(gcp_project)

    @pytest.mark.parametrize("there", [False, True], ids=["no network", "no subnetworks"])
    def test_lacks_the_network_of_machines(self, gcp_project: GcpProject, there: bool) -> None:
        state = gcp_project.state
        state.networks, state.custom_networks = {"default"} if there else set(), {"default"}
        why = "makes no subnetworks by itself.*delete it" if there else "is not there: make it"
        command = "gcloud compute networks create default --subnet-mode=auto --project=" + state.id

        with pytest.raises(NotOffered, match=f"the network default, which {why}; {command}$"):
            examined(gcp_project)

    def test_is_throttled(self, gcp_project: GcpProject) -> None:
        gcp_project.state.fail("regions.list", 403, "rateLimitExceeded", domain="usageLimits")

        with pytest.raises(Throttled):
            examined(gcp_project)

    @pytest.mark.parametrize(
        "method", ["projects.testIamPermissions", "regions.list", "networks.get"]
    )
    def test_is_down(self, gcp_project: GcpProject, method: str) -> None:
        gcp_project.state.fail(method, 500, "internalError")

        with pytest.raises(CloudUnavailable):
            examined(gcp_project)


class TestThePolicy:
    def live(self, project: GcpProject) -> None:
        """All that is ever asked: an examination, and the lives of a machine and of one whose
        launch was cut off once."""
        provider = project.provider()
        examined(project)
        gone(provider, provider.launch("job-1", spec_of(provider)))
        spec = spec_of(provider, "cut-off")
        project.state.drop("instances.insert", after=False)
        with contextlib.suppress(CloudUnavailable):
            provider.launch("job-1", spec)
        made = provider.launch("job-1", spec)
        assert list(provider.offers(NEED))
        gone(provider, made)

    def test_is_a_role_as_gcloud_takes_it(self) -> None:
        document = json.loads(json.dumps(policy()))

        assert document["includedPermissions"] == sorted(PERMISSIONS)
        assert document["stage"] == "GA"
        assert document["title"]

    def test_of_machines_that_act_as_an_account_has_what_that_takes(self) -> None:
        wanted = policy("machines@a-project.iam.gserviceaccount.com")["includedPermissions"]

        assert wanted == sorted([*PERMISSIONS, *WITH_ACCOUNT])

    def test_is_enough(self, gcp_project: GcpProject) -> None:
        gcp_project.state.permissions = frozenset(PERMISSIONS)
        self.live(gcp_project)

        assert gcp_project.state.instances == {}
        assert gcp_project.state.firewalls == {}

    def test_asks_for_the_network_only_to_know_that_it_is_there(
        self, gcp_project: GcpProject
    ) -> None:
        gcp_project.state.permissions = frozenset(PERMISSIONS.keys() - {LOOKING})
        self.live(gcp_project)
        found = examined(gcp_project)

        assert found.missing == (LOOKING,)
        assert f"the network default could not be looked for: {LOOKING} is missing" in found.notes
        assert "networks.get" not in gcp_project.state.calls
        with pytest.raises(Refused, match=f"Required '{LOOKING}' permission"):
            gcp_project.provider()._calls.get("global", "networks", "default")

    @pytest.mark.parametrize("permission", sorted(PERMISSIONS.keys() - {LOOKING}))
    def test_has_nothing_that_is_not_needed(self, gcp_project: GcpProject, permission: str) -> None:
        gcp_project.state.permissions = frozenset(PERMISSIONS.keys() - {permission})

        with pytest.raises(Denied, match=f"Required '{permission}' permission"):
            self.live(gcp_project)
