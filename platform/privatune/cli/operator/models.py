"""`privatune models`: the catalogue of base models."""

from pathlib import Path
from typing import Annotated, Any

import typer

from privatune.cli.lists import Columns, show_list
from privatune.cli.operator.session import DataFolder, actor, services, show
from privatune.cli.output import AsJson, notes, size

app = typer.Typer(no_args_is_help=True, help="Operator: fill the catalogue of base models.")

COLUMNS: Columns = {
    "NAME": "name",
    "PARAMETERS": "parameters",
    "SIZE": lambda model: size(model["bytes"]),
    "EDITION": "edition",
    "LICENCE": "licence",
    "DIGEST": "digest",
}


@app.command("import")
def import_model(
    source: Annotated[
        str,
        typer.Argument(help="A folder (safetensors), a .gguf file, or a hub id like Org/Model."),
    ],
    name: Annotated[str | None, typer.Option(help="Its name here; default: its last part.")] = None,
    licence: Annotated[str, typer.Option(help="The licence it came under.")] = "not stated",
    edition: Annotated[str, typer.Option(help="open or commercial.")] = "open",
    chat_template: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A Jinja chat template, if it has none."),
    ] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Bring a base model into the store and the catalogue. Refuses pickled weights and code."""
    with services(data):
        from finetune.services.models import catalog

        console = notes()
        model = catalog.import_model(
            source=source,
            name=name or _last_part(source),
            licence=licence,
            edition=edition,
            chat_template=chat_template,
            actor=actor(),
            progress=lambda line: console.print(line, markup=False, soft_wrap=True),
        )
        facts = _facts(model)
    show(facts, as_json=as_json)


@app.command("list")
def list_models(data: DataFolder = None, as_json: AsJson = False) -> None:
    """List the catalogue of base models."""
    with services(data):
        from finetune.models import CatalogModel

        models = [_facts(model) for model in CatalogModel.objects.order_by("name")]
    show_list(models, COLUMNS, as_json=as_json)


def _facts(model: Any) -> dict[str, Any]:
    names = (
        "name", "digest", "architecture", "family", "parameters", "context_length", "bytes",
        "edition", "licence", "source",
    )  # fmt: skip
    return {name: getattr(model, name) for name in names}


def _last_part(source: str) -> str:
    """Qwen3-0.6B of /models/Qwen3-0.6B, Qwen/Qwen3-0.6B or Qwen3-0.6B.gguf."""
    return source.rstrip("/").rsplit("/", 1)[-1].removesuffix(".gguf")
