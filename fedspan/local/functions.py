"""The functions of `functions/aws`, loaded as Lambda would: from their own folder."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, Final

from chalice.app import Chalice

from fedspan.local.assets import asset

Handler = Callable[[Any, Any], Any]
"""What runs a Lambda: it takes the event and the context."""

MODULE: Final = "fedspan_functions_aws"


@cache
def module() -> ModuleType:
    """``functions/aws/app.py``, with its ``chalicelib`` importable as on Lambda."""
    path = asset("functions/aws/app.py")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def chalice_app() -> Chalice:
    app: Chalice = module().app
    return app


def handlers() -> Mapping[str, Handler]:
    """The pure Lambdas by name: what the state machine calls."""
    functions = {f.name: f.handler_string for f in chalice_app().pure_lambda_functions}
    return {name: getattr(module(), place.split(".")[-1]) for name, place in functions.items()}
