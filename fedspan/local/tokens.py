"""The token of the person whose home it is."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from fedspan import wiring
from fedspan.access import Caller, CallerRole, Tokens
from fedspan.local.home import Home

TOKEN_LIFETIME: Final = timedelta(days=365)


def admin_token(home: Home) -> str:
    """Who can read the key may do everything."""
    caller = Caller(role=CallerRole.ADMIN)
    return Tokens(home.signing_key()).issue(caller, wiring.now(), TOKEN_LIFETIME)
