"""`privatune evaluate`: a model held to a suite beside its base, with a table and a plain verdict;
`privatune evaluations`: what was found."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from finetune.grading.advice import CALLED, Decision
from finetune.grading.criteria import NAMED, rewarding
from finetune.grading.intervals import chance
from finetune.purposes import Purpose
from finetune.states import LIVE_LEASES, LeaseState
from privatune.cli.brought import brought
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.lists import Columns, Limit, show_list
from privatune.cli.output import (
    AsJson,
    fail,
    moment,
    notes,
    print_facts,
    print_json,
    print_table,
)
from privatune.cli.visible import json_visible
from tenants import public_ids

app = typer.Typer(no_args_is_help=True, help="List, read, compare and end evaluations.")

EVALUATIONS = "/api/v1/evaluations"
POLL_SECONDS = 1.0
SIDES = {"base": "base", "base_with_examples": "base with examples", "model": "model"}


class GateVerdict(StrEnum):
    DEPLOY = "deploy"
    NOT_WORSE = "not-worse"


EvaluationId = Annotated[str, typer.Argument(help=f"Its id, like {public_ids.EVALUATION}")]


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A base model, a fine-tuned one (ft:...), or a job, whose result is evaluated "
            "once it has ended."
        ),
    ],
    suite: Annotated[
        str, typer.Option("--suite", help="The rows: a file id, or a path to upload.")
    ],
    grader: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{', '.join(NAMED)}, the name of a reward model of yours (ft:...), or a path to "
            "a grader's JSON; may be repeated. exact if not given."
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=16, help="Training rows in the base's prompt, for one side.")
    ] = 4,
    beside: Annotated[
        bool, typer.Option("--beside/--alone", help="Ask the base of a tuned model as well.")
    ] = True,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
    samples: Annotated[
        int, typer.Option(min=1, max=32, help="Answers to each question, to tell pass@k.")
    ] = 1,
    name: Annotated[str, typer.Option(help="What it is called.")] = "",
    gate: Annotated[
        GateVerdict | None,
        typer.Option(help="Withhold the model until the verdict is so: neither asked nor pulled."),
    ] = None,
    gate_minimum: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Withhold the model until it has this score."),
    ] = None,
    must_deploy: Annotated[
        bool, typer.Option("--must-deploy", help="Exit code 1 unless the verdict is to deploy.")
    ] = False,
    minimum: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Exit code 1 if the model's score is below."),
    ] = None,
    watching: Annotated[
        bool, typer.Option("--watch/--no-watch", help="Stay, and show what was found.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Have a model answer a suite's questions, and say whether it is worth putting to work.

    A tuned model is weighed against its base, and against the base with a few training rows in its
    prompt. Exit code 1 if the evaluation failed or was cancelled; for a pipeline, --must-deploy and
    --minimum end so as well where the model does not reach them.
    """
    if not watching and (must_deploy or minimum is not None):
        raise typer.BadParameter("a verdict is waited for", param_hint="--no-watch")
    criteria = [_grader(each) for each in grader or ["exact"]]
    client = Client.from_environment()
    with brought(client) as files:
        file = files.file_id(suite, purpose=Purpose.EVALS)
        evaluation = client.post(
            EVALUATIONS,
            {
                "model": model, "file": file, "criteria": criteria, "beside": beside,
                "examples": examples if beside else 0, "name": name,
                "sampling": {"max_tokens": max_tokens, "temperature": temperature},
                **({"samples": samples} if samples > 1 else {}),
                **_gate(gate, gate_minimum),
            },
        )  # fmt: skip
    if watching:
        notes().print(f"{evaluation['id']} started")
        evaluation = _watched(client, evaluation["id"])
    show(evaluation, as_json=as_json)
    if watching:
        _ended(evaluation, as_json=as_json)
        _require(evaluation, must_deploy=must_deploy, minimum=minimum, as_json=as_json)


@app.command("list")
def list_evaluations(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List the tenant's evaluations."""
    rows = Client.from_environment().pages(EVALUATIONS, limit=limit)
    show_list(rows, COLUMNS, as_json=as_json)


@app.command("get")
def get_evaluation(evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """Show one evaluation: its scores by side and by tag, and the verdict."""
    show(Client.from_environment().get(f"{EVALUATIONS}/{evaluation_id}"), as_json=as_json)


@app.command("watch")
def watch_evaluation(evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """Watch an evaluation to its end; exit code 1 if it failed or was cancelled."""
    evaluation = _watched(Client.from_environment(), evaluation_id)
    show(evaluation, as_json=as_json)
    _ended(evaluation, as_json=as_json)


@app.command("items")
def show_items(evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """Print what was asked, answered and how it was graded, one JSON object a row; with --json as
    one list."""
    client = Client.from_environment()
    with client.stream("GET", f"{EVALUATIONS}/{evaluation_id}/items") as response:
        if as_json:
            # Not iter_lines: what was answered may hold other characters that end a line
            rows = response.read().split(b"\n")
            return print_json({"data": [json.loads(row) for row in rows if row]})
        for piece in response.iter_text():
            typer.echo(json_visible(piece), nl=False)
    return None


@app.command("compare")
def compare_evaluations(
    first: EvaluationId,
    second: Annotated[str, typer.Argument(help="Another of the same questions.")],
    as_json: AsJson = False,
) -> None:
    """Tell how much higher the second scores than the first, row by row."""
    path = f"{EVALUATIONS}/{first}/compare"
    told = Client.from_environment().get(path, **{"with": second})
    if as_json:
        return print_json(told)
    low, high = told["interval"] or (None, None)
    print_facts(
        {
            "first": told["first"]["model"],
            "second": told["second"]["model"],
            "rows": told["rows"],
            "difference": f"{told['difference']:+.3f}",
            "95% interval": None if low is None else f"{low:+.3f} to {high:+.3f}",
            "p": chance(told["p_value"]).removeprefix("p ").removeprefix("= "),
            "the second is": told["verdict"],
        }
    )
    return None


@app.command("abilities")
def show_abilities(evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """Tell by tag what the model scores, how many training rows have it, and what is missing.

    Training rows are counted where their file was profiled (`files profile`).
    """
    told = Client.from_environment().get(f"{EVALUATIONS}/{evaluation_id}/abilities")
    if as_json:
        return print_json(told)
    show_list(told["data"], ABILITIES, as_json=False)
    if told["data"] and told["profile"] is None and told["training_file"]:
        file = told["training_file"]
        notes().print(f"Rows are not counted yet: privatune files profile {file}")
    return None


@app.command("cancel")
def cancel_evaluation(evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """Cancel an evaluation; what was answered stays."""
    client = Client.from_environment()
    show(client.post(f"{EVALUATIONS}/{evaluation_id}/cancel"), as_json=as_json)


@app.command("delete")
def delete_evaluation(evaluation_id: EvaluationId, as_json: AsJson = False) -> None:
    """Delete an evaluation with its items."""
    told = Client.from_environment().delete(f"{EVALUATIONS}/{evaluation_id}")
    if as_json:
        return print_json(told)
    notes().print(f"{told['id']} is deleted.")
    return None


def show(evaluation: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(evaluation)
    error, advice = evaluation.get("error") or {}, _advice(evaluation)
    print_facts(
        {
            "id": evaluation["id"],
            "state": evaluation["state"],
            "model": evaluation["model"],
            "withholds it": "yes" if evaluation["withholds"] else None,
            "answers": f"{evaluation['answers']} of {evaluation['answers_total'] or '?'}",
            "waits for": evaluation["waits_for"] or None,
            "error": error.get("message"),
            "where": error.get("where"),
            "seen in training": _seen(evaluation.get("report") or {}),
            "wins": _wins(evaluation.get("report") or {}),
            "verdict": advice and f"{_verdict(evaluation)}: {advice['message']}",
            "more rows": advice and (advice.get("learning_curve") or {}).get("message"),
        }
    )
    if _sides(evaluation):
        print_table(HEADINGS, list(_lines(evaluation)))
    if tried := list(_tried(evaluation)):
        print_table(["SIDE", "PASS@", "VALUE", "95% INTERVAL"], tried)
    return None


def _tried(evaluation: dict[str, Any]) -> Any:
    for side, name in SIDES.items():
        for each in _sides(evaluation).get(side, {}).get("pass_at", ()):
            low, high = each["interval"] or (None, None)
            within = "" if low is None else f"{low:.3f} to {high:.3f}"
            yield [name, str(each["k"]), f"{each['value']:.3f}", within]


HEADINGS = ["SIDE", "TAG", "ROWS", "SCORE", "95% INTERVAL", "PASSED", "ERRORS", "MODEL MINUS SIDE"]


def _lines(evaluation: dict[str, Any]) -> Any:
    changes = evaluation["report"].get("changes", {})
    for side, name in SIDES.items():
        if side in _sides(evaluation):
            yield [name, "", *_figures(_sides(evaluation)[side]), _change(changes.get(side))]
    for side, tags in (evaluation.get("tags") or {}).items():
        for tag, told in tags.items():
            yield [SIDES.get(side, side), tag, *_figures(told), ""]


def _figures(told: dict[str, Any]) -> list[str]:
    low, high = told["interval"] or (None, None)
    within = "" if low is None else f"{low:.3f} to {high:.3f}"
    return [str(told["rows"]), _score(told), within, str(told["passed"]), str(told["errored"])]


def _change(told: dict[str, Any] | None) -> str:
    if told is None:
        return ""
    low, high = told["interval"] or (None, None)
    within = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
    return f"{told['difference']:+.3f}{within}, {chance(told['p_value'])}"


def _score(told: dict[str, Any]) -> str:
    return f"{told['score']:.3f}" if told else ""


def _sides(evaluation: dict[str, Any]) -> dict[str, Any]:
    return (evaluation.get("report") or {}).get("sides") or {}


def _advice(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    return (evaluation.get("report") or {}).get("advice")


def _seen(report: dict[str, Any]) -> str | None:
    return f"{report['rows_seen']} of {report['rows']} rows" if report.get("rows_seen") else None


def _wins(report: dict[str, Any]) -> str | None:
    """Against the base, by a reward model."""
    told = [
        f"{each['name']}: {each['won']} of {each['rows']}, {each['tied']} tied" + _share(each)
        for each in report.get("wins", ())
    ]
    return "; ".join(told) or None


def _share(told: dict[str, Any]) -> str:
    if told["share"] is None:
        return ""
    low, high = told["interval"]
    return f", {told['share']:.3f} ({low:.3f} to {high:.3f}) of the others"


def _verdict(evaluation: dict[str, Any]) -> str:
    """In words; a newer server's as it names it."""
    decision = str((_advice(evaluation) or {}).get("decision", ""))
    return {str(each): words for each, words in CALLED.items()}.get(decision, decision)


def _gate(verdict: GateVerdict | None, minimum: float | None) -> dict[str, Any]:
    asked = {"verdict": verdict and verdict.value.replace("-", "_"), "minimum": minimum}
    given = {name: value for name, value in asked.items() if value is not None}
    return {"gate": given} if given else {}


def _grader(said: str) -> dict[str, Any]:
    if said in NAMED:
        return NAMED[said]
    if said.startswith("ft:"):
        return rewarding(said)
    try:
        told: dict[str, Any] = json.loads(Path(said).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise typer.BadParameter(
            f"{said!r} is none of {', '.join(NAMED)}, no model and no file of JSON",
            param_hint="--grader",
        ) from None
    return told


def _watched(client: Client, evaluation_id: str) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=notes()) as bar:
        task = bar.add_task("waiting", total=None)
        while True:
            found: dict[str, Any] = client.get(f"{EVALUATIONS}/{evaluation_id}")
            total, done = found["answers_total"], found["answers"]
            bar.update(task, description=found["state"], total=total, completed=done)
            if found["state"] not in LIVE_LEASES:
                return found
            time.sleep(POLL_SECONDS)


def _require(
    evaluation: dict[str, Any], *, must_deploy: bool, minimum: float | None, as_json: bool
) -> None:
    score = _sides(evaluation)["model"]["score"]
    if minimum is not None and score < minimum:
        what = f"The score, {score:.3f}, is below {minimum:.3f}."
        fail(Stop(Exit.FAILED, what, code="below_minimum"), as_json=as_json)
    if must_deploy and _verdict(evaluation) != CALLED[Decision.DEPLOY]:
        found = _verdict(evaluation)
        none = "There is no verdict, as nothing stood beside the model."
        what = f"The verdict is: {found}." if found else none
        fail(Stop(Exit.FAILED, what, code="not_deploy"), as_json=as_json)


def _ended(evaluation: dict[str, Any], *, as_json: bool) -> None:
    if evaluation["state"] == LeaseState.SUCCEEDED:
        return
    error = evaluation.get("error") or {}
    stop = Stop(
        Exit.FAILED,
        error.get("message") or f"{evaluation['id']} is {evaluation['state']}.",
        code=error.get("code") or f"evaluation_{evaluation['state']}",
        where=error.get("where"),
        fix=error.get("fix"),
    )
    fail(stop, as_json=as_json)


ABILITIES: Columns = {
    "TAG": "tag",
    "ASKED": "asked",
    "SCORE": lambda row: "" if row["score"] is None else f"{row['score']:.3f}",
    "95% INTERVAL": lambda row: " to ".join(f"{end:.3f}" for end in row["interval"] or ()),
    "BASE": lambda row: "" if row["base"] is None else f"{row['base']:.3f}",
    "TRAINING ROWS": "rows",
    "GAP": lambda row: row["gap"].replace("_", " "),
}
COLUMNS: Columns = {
    "ID": "id",
    "STATE": "state",
    "MODEL": "model",
    "SCORE": lambda row: _score(_sides(row).get("model") or {}),
    "VERDICT": _verdict,
    "CREATED": lambda row: moment(row["created_at"]),
}
