"""The commands about API keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from retrievalguard import preflight
from retrievalguard.opening import console

if TYPE_CHECKING:
    from service.keys import Key, Keys

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@contextmanager
def _keys() -> "Iterator[Keys]":
    from service.keys import Keys, KeysUnusable
    from service.settings import Settings

    settings = Settings.from_environment()
    if settings.keys_file is None:
        preflight.check_data_folder(settings.data_dir)
    try:
        yield Keys(settings.keys)
    except KeysUnusable as error:
        raise preflight.CheckError(str(error)) from error


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: a person, a program.")],
    scope: Annotated[
        list[str],
        typer.Option(help="retrieve, gallery:read, gallery:write, metrics or admin (all); repeatable."),
    ],
    requests: Annotated[int | None, typer.Option(help="At most so many requests a minute.", min=1)] = None,
    samples: Annotated[int | None, typer.Option(help="At most so many new samples a minute.", min=1)] = None,
) -> None:
    """Make a key and print it, once: only a digest is kept. From the first one on, requests need a key."""
    from service.keys import Scope

    unknown = [one for one in scope if one not in get_args(Scope)]
    if unknown:
        raise preflight.CheckError(f"--scope {unknown[0]}: there are {', '.join(get_args(Scope))}")
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise preflight.CheckError("NAME: 1 to 100 characters that can be printed")
    with _keys() as keys:
        scopes = [one for one in get_args(Scope) if one in scope]
        key, token = keys.create(name, scopes, requests=requests, samples=samples)
    print(token)
    console.print(_line(key), f"{keys.path} keeps a digest: it is not shown again", sep="\n", markup=False)


@app.command("list")
def list_() -> None:
    """Print id, name, scopes and limits of every key, one a line, separated by tabs."""
    with _keys() as keys:
        for key in keys.all():
            print(_line(key))


@app.command("revoke")
def revoke(identity: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` prints it.")]) -> None:
    """Take a key away: a running server refuses it from its next request on."""
    with _keys() as keys:
        console.print(f"revoked: {_line(keys.revoke(identity))}", markup=False)


def _line(key: "Key") -> str:
    limits = [f"{key.requests} requests/min"] if key.requests else []
    limits += [f"{key.samples} samples/min"] if key.samples else []
    allowed = ", ".join(limits) or "no limit"
    return "\t".join((key.id, key.name, " ".join(key.scopes), allowed, f"{key.created:%Y-%m-%d}"))
