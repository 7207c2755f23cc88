"""The Google Cloud side: the question of placement, as an HTTP function. No logic here.

Deploy it with ``--no-allow-unauthenticated``: Google checks who calls (IAM) before this runs, and
this asks for no token of its own: it keeps nothing that a question could read or change.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fedspan import logs
from fedspan.domain.placements import PlacementQuestion
from fedspan.edge import (
    JSON,
    LONGEST_QUESTION,
    MOST_SHOWN,
    PROBLEM,
    a_word,
    json_body,
    problem_document,
    told,
    whole_number,
)
from fedspan.services.placements import SHOWN, score
from fedspan.wiring import app_on_gcp

if TYPE_CHECKING:
    from flask import Request

Answer = tuple[str, int, dict[str, str]]

logs.to_stdout()


def score_placement(request: Request) -> Answer:
    """POST a `PlacementQuestion`; `limit` and `compare` in the query, as ``POST /v1/placements``
    takes them."""
    if request.method != "POST":
        return _post_only(request.method)
    try:
        question = json_body(PlacementQuestion, request.get_data(), LONGEST_QUESTION)
        limit = whole_number("limit", request.args.get("limit"), SHOWN, MOST_SHOWN)
        compare = a_word("compare", request.args.get("compare"))
        answer = score(app_on_gcp(), question, limit=limit, compare=compare)
    except Exception as exc:
        error = told(exc, by="score_placement")
        return json.dumps(problem_document(error)), error.http, PROBLEM
    return answer.model_dump_json(), 200, JSON


def _post_only(method: str) -> Answer:
    """On AWS the API Gateway says this; it is no error of our tree."""
    document = {
        "type": "about:blank",
        "title": "Method Not Allowed",
        "status": 405,
        "detail": f"{method} is not answered here; POST a question",
    }
    return json.dumps(document), 405, {**PROBLEM, "Allow": "POST"}
