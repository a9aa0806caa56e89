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
    gallery: Annotated[
        list[str] | None,
        typer.Option(
            help="For this named gallery alone, and none of its scopes but retrieve and gallery:read;"
            " repeatable."
        ),
    ] = None,
    requests: Annotated[int | None, typer.Option(help="At most so many requests a minute.", min=1)] = None,
    samples: Annotated[int | None, typer.Option(help="At most so many new samples a minute.", min=1)] = None,
) -> None:
    """Make a key and print it, once: only a digest is kept. From the first one on, requests need a key."""
    from service.keys import READING, Scope, is_gallery

    unknown = [one for one in scope if one not in get_args(Scope)]
    if unknown:
        raise preflight.CheckError(f"--scope {unknown[0]}: there are {', '.join(get_args(Scope))}")
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise preflight.CheckError("NAME: 1 to 100 characters that can be printed")
    scopes = [one for one in get_args(Scope) if one in scope]
    galleries = list(dict.fromkeys(gallery)) if gallery else None
    for one in galleries or ():
        if not is_gallery(one):
            raise preflight.CheckError(
                f"--gallery {one!r}: no name of a named gallery; for all items leave it out"
            )
    refused = [one for one in scopes if galleries and one not in READING]
    if refused:
        raise preflight.CheckError(
            f"--scope {refused[0]}: a key of some galleries only reads ({', '.join(READING)}); an item is in"
            " any gallery whose filter it matches, so that who changes items reaches all of them"
        )
    with _keys() as keys:
        key, token = keys.create(name, scopes, galleries=galleries, requests=requests, samples=samples)
    print(token)
    console.print(_line(key), f"{keys.path} keeps a digest: it is not shown again", sep="\n", markup=False)


@app.command("list")
def list_() -> None:
    """Print id, name, scopes, limits, day and galleries of every key, one a line, separated by tabs."""
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
    galleries = "all galleries" if key.galleries is None else f"galleries {' '.join(key.galleries)}"
    made = f"{key.created:%Y-%m-%d}"
    return "\t".join((key.id, key.name, " ".join(key.scopes), allowed, made, galleries))
