"""Tools called on demand between control tokens, by a model that writes at random."""

import json
from pathlib import Path

import jsonschema
import pytest
from transformers import AutoModelForCausalLM

from finetune.serving.bases import Base, load_base
from tests.finetune.records.templates import tokenizer
from tests.tiny import build_tiny_base

from .conftest import Batch, ask
from .test_calling import SCHEMAS, asked, calls, tool


def speaker(folder: Path, template: str) -> Base:
    """A tiny base whose vocabulary has the control tokens."""
    build_tiny_base(folder)
    spoken = tokenizer(template)
    spoken.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(spoken))
    model.save_pretrained(folder)
    return load_base(folder, "marks", "fp32")


DIALECTS = ["deepseek_v3_1", "mistral_v3", "mistral_v11", "mistral_v13", "gptoss"]


@pytest.mark.parametrize("template", DIALECTS)
def test_a_forced_call_is_written_between_the_marks_and_read(
    batch: Batch, tmp_path: Path, template: str
) -> None:
    base = speaker(tmp_path / "b", template)
    assert base.call_marks is not None
    strict = [tool(each, schema, strict=True, description="d") for each, schema in SCHEMAS.items()]
    forced, named, free = batch(
        asked(must_call=True, parallel_calls=False, tools=strict, n=16),
        asked(must_call=True, must_call_tool="遮", tools=strict),
        asked(tools=strict, max_tokens=8),
        on=base,
    )
    assert free.error is None
    found = 0
    for index in range(16):  # most are cut off: a random model writes texts without end
        assert len(calls(forced, index)) <= 1
        for call in calls(forced, index):
            jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
            assert (forced.reason(index), forced.text(index)) == ("tool_calls", "")
            found += 1
    assert found
    assert {call.name for call in calls(named)} <= {"遮"}


def test_a_final_part_keeps_to_a_schema_and_thoughts_stand_apart(
    batch: Batch, tmp_path: Path
) -> None:
    form = {"json_schema": SCHEMAS["遮"], "place": "response_format"}
    base = speaker(tmp_path / "b", "gptoss")
    bias = {base.vocabulary.id_of("<|message|>"): 9.0, base.vocabulary.id_of("<|end|>"): 9.0}
    request = ask(form=form, n=8, temperature=1.0, seed=1, max_tokens=400, logit_bias=bias)
    (held,) = batch(request, on=base)
    whole = [index for index in range(8) if held.reason(index) == "stop"]
    assert whole
    for index in whole:
        jsonschema.validate(json.loads(held.text(index)), SCHEMAS["遮"])
