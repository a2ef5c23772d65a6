"""docs/reference/templates.md says what encoding does, and what it calls trained is trained."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from tests.finetune.records.templates import EVERY, tokenizer

TABLE = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "templates_table.py"))
ROWS: dict[str, Any] = TABLE["rows"]()


def test_the_page_is_current() -> None:
    assert TABLE["TARGET"].read_text("utf-8") == TABLE["page"](), "run scripts/templates_table.py"


@pytest.mark.parametrize("kind", ROWS)
def test_what_the_page_calls_trained_is_every_answer_and_nothing_else(kind: str) -> None:
    messages = ROWS[kind]["messages"]
    trained = 0
    for name in EVERY:
        encoded = TABLE["encoded"](name, kind)
        if isinstance(encoded, UserFault):
            continue
        trained += 1
        pairs = zip(encoded.input_ids, encoded.trained, strict=True)
        text = tokenizer(name).decode([token for token, label in pairs if label])
        for message in messages:
            if calls := message.get("tool_calls"):
                assert calls[0]["function"]["name"] in text, (name, text)
                continue
            times = text.count(message["content"].strip())
            assert times == (message["role"] == "assistant"), (name, text)
    assert trained > 20
