"""``fedspan credential ...``"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from click import Context, Parameter
from typer.core import TyperOption

from fedspan.cli.plain import dumped
from fedspan.cli.session import Command, group, session
from fedspan.errors import Denied, InvalidRequest

if TYPE_CHECKING:
    from fedspan.cli.session import Session
    from fedspan.domain.credentials import Credential, Registration

ROTATE: Final = "rotate"
FORCE: Final = "fedspan.force"
app = group("credential", "Credentials of clouds: proved by real calls, kept sealed, never shown.")
adding = group("add", "Prove a credential with real calls, and keep it sealed.")
rotating = group(ROTATE, "Put a new secret in the old one's place, once it has proved itself.")
app.add_typer(adding)
app.add_typer(rotating)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the credential")]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar="REGION",
        help="Where machines may be; may be given several times. Default: with add all that are "
        "usable now, with rotate those of before",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Ask the cloud, keep nothing")]


class Rotating(Command):
    """Takes ``--force`` besides: what is added loses nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        force = TyperOption(
            param_decls=["--force"],
            is_flag=True,
            expose_value=False,
            callback=_remember_force,
            help="Also where it is not known what is left in regions that the new one lacks",
        )
        self.params.insert(-2, force)  # before --home and --json


def _remember_force(ctx: Context, parameter: Parameter, value: object) -> None:
    ctx.meta[FORCE] = bool(value)


@adding.command(cls=Command)
@rotating.command(cls=Rotating)
def aws(
    ctx: typer.Context,
    access_key_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Public; its secret is asked for")
    ] = None,
    secret_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With the secret access key, unasked; - is stdin"),
    ] = None,
    from_env: Annotated[
        bool, typer.Option("--from-env", help="Take AWS_ACCESS_KEY_ID and those beside it")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of AWS's own configuration")
    ] = None,
    region: Regions = None,
    dry_run: DryRun = False,
) -> None:
    """An access key of an AWS user. There is one, named aws."""
    from fedspan.cli import credential_sources as sources

    _one_of("--access-key-id ID", access_key_id, "--from-env", from_env, "--profile NAME", profile)
    if from_env:
        given = sources.from_env(sources.AWS_VARIABLES)
    elif profile is not None:
        given = sources.aws_profile(profile)
    else:
        secret = sources.secret_text("secret access key", "--secret-file", secret_file)
        given = {"access_key_id": access_key_id, "secret_access_key": secret}
    _send(ctx, "aws", {"provider": "aws", **given, **_regions(region)}, dry_run)


@adding.command(cls=Command)
@rotating.command(cls=Rotating)
def gcp(
    ctx: typer.Context,
    key: Annotated[
        str, typer.Option(metavar="FILE", help="The JSON of Google's console; - is stdin")
    ],
    region: Regions = None,
    dry_run: DryRun = False,
) -> None:
    """A key of a Google service account. There is one, named gcp."""
    from fedspan.cli import credential_sources as sources

    given = {**sources.google_key(key), "provider": "gcp", **_regions(region)}
    _send(ctx, "gcp", given, dry_run)


@adding.command(cls=Command)
@rotating.command(cls=Rotating)
def openstack(
    ctx: typer.Context,
    name: Name,
    auth_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Keystone's, such as https://HOST:5000/v3")
    ] = None,
    username: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its password is asked for")
    ] = None,
    project: Annotated[str | None, typer.Option(metavar="NAME", help="Of the user")] = None,
    user_domain: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the user; default: Default")
    ] = None,
    project_domain: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the project; default: Default")
    ] = None,
    application_credential_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Instead of user and project; its secret is asked for"),
    ] = None,
    password_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="With the password or the secret, unasked; - is stdin",
        ),
    ] = None,
    from_env: Annotated[
        bool, typer.Option("--from-env", help="Take OS_AUTH_URL and those beside it")
    ] = False,
    cloud: Annotated[str | None, typer.Option(metavar="NAME", help="Of clouds.yaml")] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="Of the catalogue; default: the only one")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="Of machines, by name or id; default: the only one"),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(metavar="NETWORK", help="Of machines, by name or id; default: the only one"),
    ] = None,
    ca: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEM of the CA that signed the endpoints")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """A project of a private cloud, by password or application credential."""
    from fedspan.cli import credential_sources as sources

    _one_of("--auth-url URL", auth_url, "--from-env", from_env, "--cloud NAME", cloud)
    said: dict[str, Any] = {
        "auth_url": auth_url,
        "username": username,
        "project": project,
        "user_domain": user_domain,
        "project_domain": project_domain,
        "application_credential_id": application_credential_id,
        "region": region,
        "image": image,
        "network": network,
        "ca": None if ca is None else sources.text_of("--ca", ca),
    }
    given = {field: value for field, value in said.items() if value is not None}
    if from_env:
        given = sources.openstack_from_env() | given
    elif cloud is not None:
        given = sources.clouds_yaml(cloud) | given
    by_id = "application_credential_id" in given
    field = "application_credential_secret" if by_id else "password"
    if password_file is not None or field not in given:
        what = "secret of the application credential" if by_id else "password"
        given[field] = sources.secret_text(what, "--password-file", password_file)
    _send(ctx, name, {"provider": "openstack", **given}, dry_run)


@app.command("list", cls=Command)
def list_(ctx: typer.Context) -> None:
    """All credentials: who they are, and what they lack."""
    here = session(ctx)
    with here.api() as api:
        found = api.credentials()
    from fedspan.cli import render_credential

    document = {"credentials": [one.model_dump(mode="json") for one in found]}
    here.show(document, render_credential.credentials(found))


@app.command(cls=Command)
def show(ctx: typer.Context, name: Name) -> None:
    """Who a credential is and what it may, as its cloud said when it was last asked."""
    here = session(ctx)
    with here.api() as api:
        found = api.credential(name)
    from fedspan.cli import render_credential

    here.show(found.model_dump(mode="json"), *render_credential.credential(found))


@app.command(cls=Command)
def check(ctx: typer.Context, name: Name) -> None:
    """Ask its cloud again: is it still good, and what may it do?"""
    here = session(ctx)
    with here.api() as api:
        found = api.check_credential(name)
    from fedspan.cli import render_credential

    here.show(found.model_dump(mode="json"), *render_credential.credential(found))
    _exit_if_lacking(here, found)


@app.command(cls=Command)
def delete(
    ctx: typer.Context,
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Also where its cloud does not say what is left there")
    ] = False,
) -> None:
    """Forget a credential. Refused while a job or a site needs it, or a machine is left."""
    here = session(ctx)
    with here.api() as api:
        left = api.delete_credential(name, force=force)
    document = {"deleted": name, **({"left": left} if left else {})}
    here.show(document, f"credential {name} is deleted" + (f"; {left}" if left else ""))


@app.command(cls=Command)
def policy(
    ctx: typer.Context,
    cloud: Annotated[str, typer.Argument(metavar="aws|gcp|openstack")],
) -> None:
    """The least a credential must be allowed, in the form its cloud takes."""
    with session(ctx).api() as api:
        typer.echo(dumped(api.policy(cloud)))


def _one_of(*ways: object) -> None:
    """`ways` are options, each with what was given for it. Raises `InvalidRequest`."""
    options, given = ways[::2], ways[1::2]
    if sum(bool(one) for one in given) != 1:
        raise InvalidRequest(f"give one of {', '.join(map(str, options))}")


def _regions(given: list[str] | None) -> dict[str, Any]:
    return {"regions": given} if given else {}


def _send(ctx: typer.Context, name: str, secret: dict[str, Any], dry_run: bool) -> None:
    """Register it, or rotate to it, as the group says that was called."""
    here, told = session(ctx), _told(name, secret)
    rotates = ctx.parent is not None and ctx.parent.info_name == ROTATE
    with here.api() as api:
        if rotates:
            made = api.rotate(told, dry_run=dry_run, force=ctx.meta[FORCE])
        else:
            made = api.register(told, dry_run=dry_run)
    from fedspan.cli import render_credential

    done = "is rotated" if rotates else "is registered"
    headline = f"credential {name} {'would be kept' if dry_run else done}"
    document = {**made.model_dump(mode="json"), "kept": not dry_run}
    if dry_run and made.examination.missing:
        headline = f"credential {name} would be refused"
    here.show(document, *render_credential.credential(made, headline))
    _exit_if_lacking(here, made)


def _told(name: str, secret: dict[str, Any]) -> Registration:
    """Raises `InvalidRequest`, whose places a person knows: they wrote no ``secret``."""
    from fedspan.domain.credentials import Registration
    from fedspan.domain.parsing import parsed

    try:
        return parsed(Registration, {"name": name, "secret": secret})
    except InvalidRequest as exc:
        problems = (re.sub(r"^secret(\.|: )", "", one) for one in exc.problems)
        raise InvalidRequest(*problems) from None


def _exit_if_lacking(here: Session, found: Credential) -> None:
    from fedspan.cli import render_credential
    from fedspan.cli.exits import code_of

    if said := render_credential.lacks(found):
        here.say(said)
        raise typer.Exit(code_of(Denied))
