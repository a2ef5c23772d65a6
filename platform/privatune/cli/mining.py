"""`privatune files mine`: hard negatives for pairs, by a model that embeds. Of a file on one's own
machine the texts are sent, and the new file is written there; of one on the server nothing leaves
it."""

import base64
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from finetune.purposes import Purpose
from privatune.cli import minings
from privatune.cli.brought import require_file_id
from privatune.cli.check import MEMORY_MB, SECONDS
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, fail, notes, print_facts, print_json
from privatune.cli.upload import processed, refused, upload
from tenants import public_ids
from tenants.states import FileStatus

if TYPE_CHECKING:
    from finetune.mining.negatives import MiningOptions

EMBEDDINGS = "/v1/embeddings"
INPUTS, CHARACTERS = 256, 400_000  # of one request
TRIES = 60


def mine(
    file: Annotated[
        str,
        typer.Argument(
            help=f"A file on the server, like {public_ids.FILE}, or a path on this machine."
        ),
    ],
    model: Annotated[str, typer.Option(help="The model that embeds: a base, or your own.")],
    output: Annotated[
        Path | None, typer.Option(help="Of a path: a new file for the rows with their negatives.")
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(
            help="Further documents, rows with `text`: a file on the server, or of a path one on "
            "this machine. Without it the other positives.",
        ),
    ] = None,
    num_negatives: Annotated[int, typer.Option(help="To each query, at most.")] = 3,
    relative_margin: Annotated[
        float,
        typer.Option(help="A negative scores at most so much of the positive's below it; 0: any."),
    ] = 0.05,
    absolute_margin: Annotated[
        float | None, typer.Option(help="A negative scores at most the positive's less this.")
    ] = None,
    max_score: Annotated[float | None, typer.Option(help="The most a negative scores.")] = None,
    min_score: Annotated[float | None, typer.Option(help="The least a negative scores.")] = None,
    range_min: Annotated[int, typer.Option(help="Leave out so many of the hardest.")] = 0,
    range_max: Annotated[int | None, typer.Option(help="Look at so many of the best.")] = None,
    send: Annotated[bool, typer.Option("--upload", help="Of a path: upload the new file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find hard negatives for a file of queries and what answers them; the file stays as it is.

    Of a file's id the server mines: it makes a new file beside it, and no text leaves it. Of a path
    the rows stay on this machine but for their texts, which the server embeds, and the new file is
    written to --output. Either way the texts count as any other request for vectors.
    """
    asked = _asked(
        num_negatives=num_negatives,
        relative_margin=relative_margin or None,
        absolute_margin=absolute_margin,
        max_score=max_score,
        min_score=min_score,
        range_min=range_min,
        range_max=range_max,
    )
    path = Path(file)
    if not path.is_file():
        require_file_id(file)
        if output is not None or send:
            raise typer.BadParameter(
                "is for a path: what the server mines is a new file there, which "
                "`privatune files get ID --content PATH` fetches",
                param_hint="--output" if output is not None else "--upload",
            )
        return minings.mine_there(file, model, corpus, asked, as_json=as_json)
    if output is None:
        raise typer.BadParameter("is needed for a path", param_hint="--output")
    further = Path(corpus) if corpus else None
    if further is not None and not further.is_file():
        raise typer.BadParameter(f"{further} is no file on this machine", param_hint="--corpus")
    return _mine_here(path, model, output, further, asked, send=send, as_json=as_json)


def _mine_here(
    file: Path,
    model: str,
    output: Path,
    corpus: Path | None,
    asked: "MiningOptions",
    *,
    send: bool,
    as_json: bool,
) -> None:
    import numpy as np

    from finetune.mining import negatives

    if output.exists():
        raise typer.BadParameter(f"{output} is there already", param_hint="--output")
    rows = list(_rows(file, "retrieval"))
    documents = [row["text"] for row in _rows(corpus, "text")] if corpus else []
    client = Client.from_environment()

    def embed(texts: Sequence[str], side: str) -> Any:
        found = [
            vector
            for batch in negatives.batches(texts, INPUTS, CHARACTERS)
            for vector in _vectors(client, model, batch, side)
        ]
        return np.stack(found)

    with notes().status(f"Embedding {len(rows)} rows with {model} ..."):
        made = negatives.mine(rows, documents, embed, asked)
    with output.open("xb") as target:
        target.writelines(map(negatives.line_of, made.rows))
    told = {
        "output": str(output),
        "rows": len(made.rows),
        "queries": made.queries,
        "documents": made.documents,
        "negatives": made.negatives,
        "rows_without": made.without,
        "skipped": dict(made.skipped),
    }
    sent = (
        processed(client, upload(client, output, purpose=Purpose.TRAINING.value)) if send else None
    )
    _show(told | ({"file": sent["id"]} if sent else {}), as_json=as_json)
    if sent and sent.get("status") == FileStatus.ERROR:
        fail(refused(sent, output), as_json=as_json)


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(told)
    skipped = ", ".join(f"{count} by {name}" for name, count in told["skipped"].items())
    return print_facts(
        told | {"rows_without": told["rows_without"] or None, "skipped": skipped or None}
    )


def _asked(**given: Any) -> "MiningOptions":
    from finetune.mining.negatives import MiningOptions

    try:
        return MiningOptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][0] if first["loc"] else "range-max").replace("_", "-")
        said = first["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(said, param_hint=name) from None


def _rows(file: Path, form: Any) -> Iterator[dict[str, Any]]:
    """As the server's own check reads them. Raises Stop for a file that cannot be trained on."""
    from finetune.records.check.child import check_in_child
    from finetune.records.check.run import ROWS
    from finetune.records.check.spec import CheckSpec
    from finetune.sandbox.levels import require

    spec = CheckSpec(source=file.resolve(), source_name=file.name, format=form)
    with tempfile.TemporaryDirectory() as folder:
        report = check_in_child(
            spec,
            Path(folder),
            memory_mb=MEMORY_MB,
            seconds=SECONDS,
            level=require("allow-none"),  # one's own file on one's own machine
        )
        if not report.ok:
            problem = report.problems[0]
            raise Stop(
                Exit.DATA, problem.message, code=problem.code, where=str(file), fix=problem.fix
            )
        with (Path(folder) / ROWS).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _vectors(client: Client, model: str, texts: Sequence[str], side: str) -> list[Any]:
    """[dimensions] of each. Waits where the tenant's tokens of this minute are used up."""
    import numpy as np

    body = {"model": model, "input": list(texts), "encoding_format": "base64", "input_type": side}
    for attempt in range(TRIES):
        try:
            told = client.post(EMBEDDINGS, body)
        except Stop as stop:
            if stop.retry_after is None or attempt == TRIES - 1:
                raise
            time.sleep(stop.retry_after)
            continue
        return [np.frombuffer(base64.b64decode(e["embedding"]), "<f4") for e in told["data"]]
    raise AssertionError  # the last attempt returns or raises
