"""`digidouble weights`: which model files there are, under which licence, and where they lie."""

from __future__ import annotations

from typing import Annotated

import typer

from digidouble.app.command import command
from digidouble.app.show import Show
from digidouble.errors import WeightsError
from digidouble.weights import cache_folder, entry, fetch, registry, where


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="The model files: where from, which licence, where they lie.", no_args_is_help=True)
    command(group, "list")(list_weights)
    command(group, "fetch", epilog="Example: digidouble weights fetch && digidouble --offline demo")(fetch_weights)
    command(group, "where", epilog="Example: digidouble weights where yunet")(where_weights)
    app.add_typer(group, name="weights")


def list_weights(show: Show) -> None:
    """List every model file: what it does, its licence, what it was trained on, and whether it is here."""
    records, rows = [], []
    for e in (*registry(), *registry("optional")):
        path = where(e.name)
        records.append(
            {
                "name": e.name, "card": e.card, "licence": e.licence, "training_data": e.training_data, "bytes": e.raw_bytes, "use": e.use,
                "sha256": e.raw_sha256, "sources": [str(s) for s in e.sources], "path": path,
            }
        )  # fmt: skip
        absent = "no (optional)" if e.use == "optional" else "no"
        rows.append((e.name, e.card, e.licence, f"{e.raw_bytes / 1e6:.1f}", "yes" if path else absent))
    show.table(
        f"Model files ({cache_folder() / 'weights'})", ("name", "what", "licence", "MB", "here"), rows, numbers=(3,)
    )
    show.done({"cache": cache_folder() / "weights", "weights": records})


def fetch_weights(
    show: Show,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Which ones; if none is named, all that are used without being asked for."
        ),
    ] = None,
) -> None:
    """Download, verify and convert model files now, so that everything else runs without a network."""
    wanted = [entry(name).name for name in names] if names else [e.name for e in registry()]
    paths = {name: fetch(name, progress=show.say) for name in wanted}
    show.done({"fetched": paths}, *(f"{name}: {path}" for name, path in paths.items()))


def where_weights(show: Show, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Print the path of a model file. Fails if it is not here or is damaged; never touches the network."""
    path = where(name)
    if path is None:
        raise WeightsError(f"{name}: not in {cache_folder() / 'weights'}. Get it with: digidouble weights fetch {name}")
    show.done({"name": name, "path": path}, str(path))
