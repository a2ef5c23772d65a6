"""What an evaluation's items say together.

The report holds figures only; tags are a customer's words, and theirs are kept beside the items.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from finetune.grading import marks
from finetune.grading.advice import advise
from finetune.grading.attempts import estimates
from finetune.grading.learning import sentence
from finetune.grading.marks import DIGITS, Mark
from finetune.models import Evaluation, Job
from finetune.services.evaluations.gating import trained_with
from finetune.services.evaluations.request import Side
from finetune.services.jobs.curves import PARTS, reported

Items = Sequence[dict[str, Any]]
OTHERS: tuple[Side, ...] = ("base", "base_with_examples")


def report_of(evaluation: Evaluation, items: Items, seen: int | None) -> dict[str, Any]:
    """`seen`: of the rows, how many stand in what the model was trained with, if that can be told.
    In the open scope."""
    sides = {side: _marks(items, side) for side in _names(items)}
    scores = {side: [mark.score for mark in found] for side, found in sides.items()}
    changes = {
        side: marks.compare(scores[side], scores["model"]) for side in OTHERS if side in sides
    }
    report: dict[str, Any] = {
        "rows": len(items),
        "rows_seen": seen,
        "sides": {side: _side(items, side, found) for side, found in sides.items()},
        "changes": {side: marks.told(found) for side, found in changes.items()},
    }
    if won := _wins(items):
        report["wins"] = won
    if "base" in changes:
        advice = advise(
            changes["base"],
            changes.get("base_with_examples"),
            errors=max(sum(mark.errored for mark in found) for found in sides.values())
            / len(items),
            seen=1.0 if _trained_on(evaluation) else (seen or 0) / len(items),
        )
        report["advice"] = {
            "decision": advice.decision, "reason": advice.reason, "message": advice.said,
        }  # fmt: skip
        if (curve := _curve(evaluation)) is not None:
            report["advice"]["learning_curve"] = curve
    return report


def _wins(items: Items) -> list[dict[str, Any]]:
    """Of each reward model among the criteria, against the base, where both answers were scored."""
    if "base" not in _names(items):
        return []
    found: dict[str, list[tuple[float, float]]] = {}
    for item in items:
        before, after = _scored(item, "base"), _scored(item, "model")
        for name in before.keys() & after.keys():
            found.setdefault(name, []).append((before[name], after[name]))
    return [
        {"name": name, **marks.wins(*zip(*pairs, strict=True))}
        for name, pairs in sorted(found.items())
    ]


def _scored(item: dict[str, Any], side: str) -> dict[str, float]:
    results = item["sides"][side]["results"]
    scored = [each for each in results if each["type"] == "reward_model" and not each["errors"]]
    return {each["name"]: each["score"] for each in scored}


def tags_of(items: Items) -> dict[str, Any]:
    tags = [item["tags"] for item in items]
    return {side: marks.by_tag(_marks(items, side), tags) for side in _names(items)}


def scores_of(items: Items) -> dict[str, list[float]]:
    """Each row's score, by side: figures by which two evaluations are compared."""
    return {
        side: [round(item["sides"][side]["score"], DIGITS) for item in items]
        for side in _names(items)
    }


def _names(items: Items) -> list[str]:
    return list(items[0]["sides"])


def _marks(items: Items, side: str) -> list[Mark]:
    return [_mark(item["sides"][side]) for item in items]


def _mark(told: dict[str, Any]) -> Mark:
    by = {each["name"]: (each["score"], each["passed"]) for each in told["results"]}
    return Mark(told["score"], told["passed"], told["errored"], by)


def _side(items: Items, side: str, found: Sequence[Mark]) -> dict[str, Any]:
    answers = [item["sides"][side] for item in items]
    usage: Counter[str] = Counter()
    for answer in answers:
        usage.update(answer.get("usage") or {})
    told = {"model": answers[0]["model"], **marks.summary(found)}
    if any("examples" in answer for answer in answers):
        told["examples"] = max(answer.get("examples", 0) for answer in answers)
    if any("samples" in answer for answer in answers):
        told |= _pass_at([answer.get("samples", ()) for answer in answers])
    return told | {"criteria": marks.criteria(found), "usage": dict(usage)}


def _pass_at(samples: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Of each question its answers; none where it could not be asked, which passes nowhere."""
    count = max(map(len, samples))
    passed = [sum(each["passed"] for each in row) for row in samples]
    return {
        "samples": count,
        "pass_at": [
            {
                "k": each.k,
                "value": round(each.value, DIGITS),
                "interval": marks.rounded(each.interval),
            }
            for each in estimates(count, passed)
        ],
    }


def _curve(evaluation: Evaluation) -> dict[str, Any] | None:
    """What more rows would bring, by the losses of the job's own learning curve."""
    report = evaluation.artifact.report if evaluation.artifact is not None else None
    found = reported(report or {})
    if found is None:
        return None
    return {name: found[name] for name in PARTS} | {"message": sentence(found)}


def _trained_on(evaluation: Evaluation) -> bool:
    """Whether the suite's file is one that the model was trained or chosen with, byte for byte."""
    if evaluation.artifact is None:
        return False
    jobs = Job.objects.select_related("training_file", "validation_file")
    return evaluation.file.sha256 in trained_with(jobs.get(id=evaluation.artifact.job_id))
