"""Tools called on demand between DeepSeek's control tokens, by a model that writes at random."""

import json
from pathlib import Path

import jsonschema
from transformers import AutoModelForCausalLM

from finetune.serving.bases import Base, load_base
from tests.finetune.records.templates import tokenizer
from tests.tiny import build_tiny_base

from .conftest import Batch
from .test_calling import SCHEMAS, asked, calls, tool


def speaker(folder: Path) -> Base:
    """A tiny base whose vocabulary has the control tokens."""
    build_tiny_base(folder)
    spoken = tokenizer("deepseek_v3_1")
    spoken.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(spoken))
    model.save_pretrained(folder)
    return load_base(folder, "marks", "fp32")


def test_a_forced_call_is_written_between_the_marks_and_read(batch: Batch, tmp_path: Path) -> None:
    base = speaker(tmp_path / "b")
    assert base.call_marks is not None
    strict = [tool(each, schema, strict=True) for each, schema in SCHEMAS.items()]
    forced, free = batch(
        asked(must_call=True, parallel_calls=False, tools=strict, n=4),
        asked(tools=strict, max_tokens=8),
        on=base,
    )
    assert free.error is None
    found = 0
    for index in range(4):
        for call in calls(forced, index):
            jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
            assert (forced.reason(index), forced.text(index)) == ("tool_calls", "")
            found += 1
    assert found
