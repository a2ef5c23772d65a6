"""`privatune models`: the catalogue of base models; `list` serves who has a key only, too."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.catalogue import Edition, ModelTask
from finetune.records.infilling import NAMES
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.lists import Columns, show_list
from privatune.cli.operator.session import DataFolder, actor, services, show
from privatune.cli.output import AsJson, notes, size, when

app = typer.Typer(no_args_is_help=True, help="List what you may use. Operator: the catalogue.")

COLUMNS: Columns = {
    "NAME": "name",
    "PARAMETERS": "parameters",
    "SIZE": lambda model: size(model["bytes"]),
    "TASK": "task",
    "FIM": lambda model: model["infilling"] or "-",
    "EDITION": "edition",
    "LICENCE": "licence",
    "STATE": "state",
    "DIGEST": "digest",
}

USABLE: Columns = {
    "NAME": "id",
    "OWNER": "owned_by",
    "CREATED": lambda model: when(model["created"]),
}

Name = Annotated[str, typer.Argument(help="Its name in the catalogue.")]
Terms = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="The licence's text, a file in UTF-8; it goes into every bundle.",
    ),
]


@app.command("import")
def import_model(
    source: Annotated[
        str,
        typer.Argument(help="A folder (safetensors), a .gguf file, or a hub id like Org/Model."),
    ],
    name: Annotated[str | None, typer.Option(help="Its name here; default: its last part.")] = None,
    licence: Annotated[str, typer.Option(help="The licence it came under.")] = "not stated",
    edition: Annotated[Edition, typer.Option(help="How it may be had.")] = Edition.OPEN,
    task: Annotated[ModelTask, typer.Option(help="What it was made for.")] = ModelTask.DIALOGUE,
    terms: Terms = None,
    chat_template: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A Jinja chat template, if it has none."),
    ] = None,
    infilling: Annotated[
        str | None,
        typer.Option(
            help="Whose tokens for filling in the middle it knows, where its tokenizer does not "
            f"tell: {', '.join(NAMES)}."
        ),
    ] = None,
    head: Annotated[
        bool,
        typer.Option("--head", help="Give an encoder a head of one label: it can learn to rank."),
    ] = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Bring a base model into the store and the catalogue. Refuses pickled weights and code."""
    text = _text(terms)
    with services(data):
        from finetune.services.models import catalog

        console = notes()
        model = catalog.import_model(
            source=source,
            name=name or _last_part(source),
            licence=licence,
            edition=edition,
            task=task,
            terms=text or "",
            chat_template=chat_template,
            infilling=infilling,
            head=head,
            actor=actor(),
            progress=lambda line: console.print(line, markup=False, soft_wrap=True),
        )
        facts = _facts(model)
    show(facts, as_json=as_json)


@app.command("list")
def list_models(data: DataFolder = None, as_json: AsJson = False) -> None:
    """List the models that you may use, by your API key. Operator: with --data or on the server's
    own machine, the catalogue of base models."""
    if data is None and not _on_the_server():
        usable = Client.from_environment().get("/v1/models")["data"]
        return show_list(usable, USABLE, as_json=as_json)
    with services(data):
        from finetune.models import CatalogModel

        models = [_facts(model) for model in CatalogModel.objects.order_by("name")]
    return show_list(models, COLUMNS, as_json=as_json)


def _on_the_server() -> bool:
    return any(os.environ.get(name) for name in ("PRIVATUNE_DATA", "DATABASE_URL"))


@app.command("describe")
def describe_model(
    name: Name,
    licence: Annotated[str | None, typer.Option(help="The licence it came under.")] = None,
    edition: Annotated[Edition | None, typer.Option(help="How it may be had.")] = None,
    task: Annotated[ModelTask | None, typer.Option(help="What it was made for.")] = None,
    terms: Terms = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Say anew what a base model is; what is not given stays. Artifacts keep what they were made
    under."""
    text = _text(terms)
    with services(data):
        from finetune.services.models import catalog

        model = catalog.describe_model(
            name, licence=licence, edition=edition, task=task, terms=text, actor=actor()
        )
        facts = _facts(model)
    show(facts, as_json=as_json)


@app.command("retire")
def retire_model(name: Name, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Take a base model off the shelf: no new job, no question to it. Jobs that are under way and
    the models made from it go on."""
    with services(data):
        from finetune.services.models import catalog

        facts = _facts(catalog.retire_model(name, actor=actor()))
    show(facts, as_json=as_json)


@app.command("restore")
def restore_model(name: Name, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Put a retired base model back on the shelf."""
    with services(data):
        from finetune.services.models import catalog

        facts = _facts(catalog.restore_model(name, actor=actor()))
    show(facts, as_json=as_json)


def _facts(model: Any) -> dict[str, Any]:
    names = (
        "name", "digest", "architecture", "family", "parameters", "context_length", "infilling",
        "bytes", "task", "edition", "licence", "source",
    )  # fmt: skip
    state = "retired" if model.retired_at else "on the shelf"
    return {name: getattr(model, name) for name in names} | {"state": state}


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Stop(
            Exit.DATA,
            f"{path} is not text in UTF-8: {error.reason} at byte {error.start}.",
            code="terms_not_text",
            fix="Give a plain text file.",
        ) from error


def _last_part(source: str) -> str:
    """Qwen3-0.6B of /models/Qwen3-0.6B, Qwen/Qwen3-0.6B or Qwen3-0.6B.gguf."""
    return source.rstrip("/").rsplit("/", 1)[-1].removesuffix(".gguf")
