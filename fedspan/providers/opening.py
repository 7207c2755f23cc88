"""From a credential to its cloud. Each cloud's SDK loads when that cloud is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from fedspan.domain.credentials import (
    AwsSecret,
    Cloud,
    Examination,
    GcpSecret,
    OpenStackSecret,
    Policy,
    Secret,
)
from fedspan.extras import needed
from fedspan.providers.base import Provider, Surroundings


@dataclass(frozen=True, slots=True)
class OpenClouds:
    """`Clouds` that are really asked. `around` says what each one's adapter is given."""

    around: Callable[[Cloud], Surroundings]

    def examine(self, secret: Secret) -> Examination:
        around = self.around(secret.provider)
        with needed(secret.provider, secret.provider):
            match secret:
                case AwsSecret():
                    from fedspan.providers.aws.check import examine as examine_aws

                    return examine_aws(secret, around)
                case GcpSecret():
                    from fedspan.providers.gcp.check import examine as examine_gcp

                    return examine_gcp(secret, around)
                case OpenStackSecret():
                    from fedspan.providers.openstack.check import examine as examine_openstack

                    return examine_openstack(secret, around)
                case _:
                    assert_never(secret)

    def provider(self, name: str, secret: Secret) -> Provider:
        around = self.around(secret.provider)
        with needed(secret.provider, secret.provider):
            match secret:
                case AwsSecret():
                    from fedspan.providers.aws.machines import AwsProvider

                    return AwsProvider(name, secret, around)
                case GcpSecret():
                    from fedspan.providers.gcp.machines import GcpProvider

                    return GcpProvider(name, secret, around)
                case OpenStackSecret():
                    from fedspan.providers.openstack.machines import OpenStackProvider

                    return OpenStackProvider(name, secret, around)
                case _:
                    assert_never(secret)


def policy_of(cloud: Cloud, owner: str) -> Policy:
    """The least a credential of `cloud` must be allowed, in the form the cloud takes. Where the
    cloud can tell, it holds for what is marked as `owner`'s only."""
    with needed(cloud, cloud):
        match cloud:
            case Cloud.AWS:
                from fedspan.providers.aws.policy import policy as aws

                return aws(owner)
            case Cloud.GCP:
                from fedspan.providers.gcp.policy import policy as gcp

                return gcp()
            case Cloud.OPENSTACK:
                from fedspan.providers.openstack.policy import policy as openstack

                return openstack()
            case _:
                assert_never(cloud)
