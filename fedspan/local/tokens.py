"""Tokens of the person whose home it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fedspan import wiring
from fedspan.access import Caller, CallerRole, Tokens
from fedspan.local.home import Home

TOKEN_LIFETIME: Final = timedelta(days=365)


def admin_token(home: Home) -> str:
    """Who can read the key may do everything."""
    return token(home, CallerRole.ADMIN, TOKEN_LIFETIME)


def token(home: Home, role: CallerRole, lifetime: timedelta) -> str:
    """For a person of this role, from now on."""
    return Tokens(home.signing_key()).issue(Caller(role=role), wiring.now(), lifetime)
