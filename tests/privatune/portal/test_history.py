"""Every message that our code writes into a job's history is told in Chinese on its page."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation import override

from finetune.services.runs.training import UNISOLATED
from finetune.trainer import auto
from privatune.portal.history import told
from tests.fixtures.language import WORDS, english_sentences

ROOT = Path(__file__).resolve().parents[3]
# Which argument of each call is the message.
WRITERS = {"note": 1, "step": 2, "line": 0, "message": 0}
FOLDERS = ("finetune/services", "finetune/trainer")


def written() -> Iterator[str]:
    """The messages as the source has them, with 1 for every value."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
                at = WRITERS.get(name)
                if at is not None and len(node.args) > at:
                    yield from texts(node.args[at])


def texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from [*texts(node.body), *texts(node.orelse)]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            str(each.value) if isinstance(each, ast.Constant) else "1" for each in node.values
        )


def reasons_of_precision() -> Iterator[str]:
    tree = ast.parse((ROOT / "finetune/families/placement.py").read_text())
    choose = next(each for each in ast.walk(tree) if getattr(each, "name", "") == "choose")
    for node in ast.walk(choose):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            yield from texts(node.value.elts[1])


MESSAGES = sorted({text for text in written() if " " in text} - {"1: 1"})
PRECISION = list(reasons_of_precision())


def test_the_scan_finds_the_messages() -> None:
    assert len(MESSAGES) > 15
    assert "Training is done." in MESSAGES
    assert len(PRECISION) > 3


@pytest.mark.parametrize("message", [*MESSAGES, *PRECISION, UNISOLATED, "Checkpoint at step 50"])
def test_a_message_is_told_in_chinese(message: str) -> None:
    with override("zh-hans"):
        assert WORDS["zh-hans"].search(told(message)), message
        assert english_sentences(f"<p>{told(message)}</p>") == []
    with override("en"):
        assert told(message) == message


def test_the_reasons_of_what_was_chosen_are_told_in_chinese() -> None:
    requested = auto.Requested(n_epochs="auto", batch_size="auto", learning_rate_multiplier="auto")
    _, reasons = auto.resolve(rows=60, tokens=600, base_parameters=135_000_000, requested=requested)
    assert reasons
    with override("zh-hans"):
        for name, reason in reasons.items():
            for message in (reason, f"{name}: {reason}"):
                assert WORDS["zh-hans"].search(told(message)), message


def test_what_an_older_version_wrote_stays_as_it_is() -> None:
    with override("zh-hans"):
        assert told("Something of long ago.") == "Something of long ago."
