"""A session with a cloud that goes only where it should."""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import openstack.connection
import requests
from keystoneauth1 import session as sessions
from keystoneauth1.identity import v3

from fedspan.domain.credentials import OpenStackSecret
from fedspan.errors import CredentialRejected, InvalidRequest, NotOffered
from fedspan.providers.base import Surroundings
from fedspan.providers.openstack.errors import Hidden, translated
from fedspan.providers.openstack.guarded import Guarded

SERVICES: Final = ("compute", "image", "network")


class Cloud:
    """What a credential opens: `sdk`, the client of its region, and `access`, its token's word
    on who it is."""

    def __init__(self, secret: OpenStackSecret, around: Surroundings, hidden: Hidden) -> None:
        """Authorises.

        Raises:
            InvalidRequest, CredentialRejected, NotOffered, CloudUnavailable, ProviderError
        """
        url = secret.auth_url.rstrip("/")
        self._auth_url = url if url.endswith("/v3") else f"{url}/v3"  # there is no other version
        guarded = Guarded(_context(secret.ca), around.allow_loopback, hidden)
        self._session = _session(_login(secret, self._auth_url), guarded)
        try:
            with translated("log in"):
                self.access: Any = self._session.auth.get_access(self._session)
                hidden.add(self.access.auth_token)
            if not self.access.project_id:
                raise CredentialRejected("openstack: the credential is in no project")
            self.region = self._region(secret.region)
            with translated("connect"):
                self.sdk: Any = openstack.connection.Connection(
                    session=self._session, region_name=self.region
                )
        except BaseException:
            self.close()
            raise

    @property
    def project_id(self) -> str:
        return str(self.access.project_id)

    def identity(self, path: str) -> Any:
        """What Keystone answers to a GET; where one logs in, whatever the catalogue says."""
        with translated(f"read {path}"):
            return self._session.get(self._auth_url + path).json()

    def path(self, service: str) -> str:
        """Of the service's API at its host, as access rules see it."""
        if service == "identity":
            return urlsplit(self._auth_url).path
        with translated(f"find {service}"):
            return urlsplit(str(getattr(self.sdk, service).get_endpoint())).path.rstrip("/")

    def close(self) -> None:
        self._session.session.close()

    def _region(self, wanted: str | None) -> str:
        """The one that was named, or the only one there is; it must have all we need."""
        places = {one: self._regions(one) for one in SERVICES}
        known = sorted(set().union(*places.values()))
        for service, regions in places.items():
            if not regions:
                raise NotOffered(f"openstack: the catalogue has no service {service}")
        if wanted is None and len(known) > 1:
            raise NotOffered(f"openstack: there are several regions, name one: {', '.join(known)}")
        region = wanted or known[0]
        if region not in known:
            raise NotOffered(f"openstack: no region {region}; there are: {', '.join(known)}")
        for service, regions in places.items():
            if region not in regions:
                raise NotOffered(f"openstack: region {region} has no service {service}")
        return region

    def _regions(self, service: str) -> set[str]:
        with translated("read the catalogue"):
            found = self.access.service_catalog.get_endpoints(
                service_type=service, interface="public"
            )
        return {one["region_id"] or one["region"] for ones in found.values() for one in ones}


def _session(login: Any, guarded: Guarded) -> Any:
    http = requests.Session()
    http.mount("https://", guarded)
    http.mount("http://", guarded)
    return sessions.Session(auth=login, session=http, app_name="fedspan")


def _context(ca: str | None) -> ssl.SSLContext | None:
    if ca is None:
        return None
    try:
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as exc:
        raise InvalidRequest("ca: is no certificate in PEM") from exc


def _login(secret: OpenStackSecret, url: str) -> Any:
    if secret.application_credential_secret is not None:
        return v3.ApplicationCredential(
            auth_url=url,
            application_credential_id=secret.application_credential_id,
            application_credential_secret=secret.application_credential_secret.get_secret_value(),
        )
    assert secret.password is not None  # one of the two, as the secret's validator says
    return v3.Password(
        auth_url=url,
        username=secret.username,
        password=secret.password.get_secret_value(),
        user_domain_name=secret.user_domain,
        project_name=secret.project,
        project_domain_name=secret.project_domain,
    )
