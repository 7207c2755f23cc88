"""From a spec file to a job."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Any

from fedspan.cli.api import Api
from fedspan.cli.app_spec import Wanted
from fedspan.cli.exits import INTERRUPTED, code_of_job
from fedspan.cli.report import document, gather
from fedspan.cli.session import Session
from fedspan.cli.spec_file import STDIN
from fedspan.domain.jobs import Job
from fedspan.domain.texts import listed, plain
from fedspan.errors import FedspanError, InvalidRequest
from fedspan.services.examine import app_key, program_key


def check(session: Session, wanted: Wanted) -> None:
    """Show whether the job could run; no job is made."""
    with session.api() as api:
        job = api.submit(_uploaded(session, api, wanted), _key(), dry_run=True)
    shape = "×".join(map(str, job.features))
    session.show(
        {
            "valid": True,
            "name": job.spec.name,
            "participants": list(job.spec.participants),
            "features": list(job.features),
            "classes": list(job.classes),
            **({"app": wanted.settings(job.spec.rounds)} if wanted.bundle else {}),
        },
        f"{wanted.path}: could run at {', '.join(job.spec.participants)}; an example has the shape "
        f"{shape}, the classes are {plain(', '.join(job.classes))}",
        *wanted.told(job.spec.rounds),
    )


def submit(session: Session, wanted: Wanted) -> None:
    from fedspan.cli.render import approval

    with session.running_api() as api:
        job = api.submit(_uploaded(session, api, wanted), _key())
        report = gather(api, session.home, job.id)
    said = f"job {job.id} is submitted; `fedspan job watch {job.id}` follows it"
    asked = approval(report.job)
    session.show(document(report), said, *([asked] if asked else []))


def submit_and_watch(session: Session, wanted: Wanted) -> int:
    """The exit code."""
    with session.running_api() as api:
        return run_to_end(session, api, _uploaded(session, api, wanted))[1]


def run_to_end(session: Session, api: Api, spec: dict[str, Any]) -> tuple[Job, int]:
    """Submit, show until the end, report. Ctrl-C cancels the job: the code is then 130."""
    from fedspan.cli import render
    from fedspan.cli.watch import Presses, watch_ours

    with Presses() as presses:
        job = api.submit(spec, _key())
        job = watch_ours(session, api, job.id, presses)
    report = gather(api, session.home, job.id)
    session.show(document(report), *render.summary(report))
    if presses.count:
        return job, INTERRUPTED
    code = code_of_job(job)
    return job, code if report.left.nothing else code or 1


def _by_name(spec: dict[str, Any]) -> None:
    """Raises `InvalidRequest` for participants told inline, as `fedspan place` takes them."""
    told = spec.get("participants")
    inline = [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    if inline:
        names = listed([plain(str(one.get("name", "?"))) for one in inline])
        raise InvalidRequest(
            f"participants: {names}: a job takes registered sites, by name (`fedspan site add`); "
            "only `fedspan place` takes them inline"
        )


def _key() -> str:
    return secrets.token_hex(16)


def _uploaded(session: Session, api: Api, wanted: Wanted) -> dict[str, Any]:
    """The spec, its model file checked, or its app bundled, and stored under its hash.

    Raises:
        InvalidModel: no torch.export program, or one that does not fit the data.
        InvalidRequest: no such file; participants told inline.
    """
    spec, path = wanted.spec, wanted.path
    _by_name(spec)
    if wanted.bundle is not None:
        _put(session, app_key(wanted.bundle.sha256), wanted.bundle.content)
        return spec
    model = spec.get("model")
    name = model.get("file") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(name, str):
        return spec
    from fedspan.learning.programs import check_program

    folder = Path() if path == STDIN else Path(path).parent
    file = folder / Path(name).expanduser()
    if not file.is_file():
        raise InvalidRequest(f"model.file: {file} is no file")
    check_program(file)
    _inspect(api, spec, file)
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    if model.get("sha256", sha256) != sha256:
        raise InvalidRequest(f"model.sha256: {file} has the hash {sha256}")
    _put(session, program_key(sha256), file)
    return {**spec, "model": {**model, "sha256": sha256}}


def _put(session: Session, key: str, source: bytes | Path) -> None:
    from fedspan.objects.opening import open_objects

    session.home.prepare()
    open_objects(session.home.objects_url).put(key, source)


def _inspect(api: Api, spec: dict[str, Any], file: Path) -> None:
    """Try the program on the data's shape, where that is known; else the API says what is wrong
    with the spec."""
    try:
        import torch  # noqa: F401 - whether it is there

        from fedspan.learning.programs import inspect_program
    except ImportError:
        return
    try:
        site, _ = api.site(spec["participants"][0])
        dataset = site.dataset(spec["data"]["dataset"])
    except (FedspanError, LookupError, TypeError):
        return
    if dataset is not None:
        inspect_program(file, dataset.features, len(dataset.classes))
