"""`privatune models`: the catalogue of base models."""

from pathlib import Path
from typing import Annotated, Any

import typer

from privatune.cli.operator.session import DataFolder, actor, services, show
from privatune.cli.output import AsJson, notes, print_json, print_table, size

app = typer.Typer(no_args_is_help=True, help="Operator: fill the catalogue of base models.")


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
    if as_json:
        return print_json({"data": models})
    print_table(
        ("NAME", "PARAMETERS", "SIZE", "EDITION", "LICENCE", "DIGEST"),
        [
            (m["name"], m["parameters"], size(m["bytes"]), m["edition"], m["licence"], m["digest"])
            for m in models
        ],
    )
    return None


def _facts(model: Any) -> dict[str, Any]:
    names = (
        "name", "digest", "architecture", "family", "parameters", "context_length", "bytes",
        "edition", "licence", "source",
    )  # fmt: skip
    return {name: getattr(model, name) for name in names}


def _last_part(source: str) -> str:
    """Qwen3-0.6B of /models/Qwen3-0.6B, Qwen/Qwen3-0.6B or Qwen3-0.6B.gguf."""
    return source.rstrip("/").rsplit("/", 1)[-1].removesuffix(".gguf")
