"""In which dialect the chat templates of real models call tools."""

import pytest

from finetune.records.call_form import CallForm
from finetune.records.encode import RowEncoder
from finetune.serving.tools import HERMES, dialect
from tests.finetune.records.templates import source, tokenizer

QWEN = CallForm(HERMES.head, HERMES.middle, f"{HERMES.tail}\n{HERMES.head}", HERMES.tail)
LLAMA = CallForm('{"name": "', '", "parameters": ', None, "}")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("qwen2_5", QWEN),
        ("qwen3", QWEN),
        ("llama3_1", LLAMA),
        ("llama3_2", LLAMA),
        ("qwen3_6", None),  # `<function=` and `<parameter=` within `<tool_call>`
        ("glm4moe", None),  # `<arg_key>`
        ("deepseekv3", None),
        ("gptoss", None),
        ("gemma3", None),  # it shows no calls
    ],
)
def test_a_templates_dialect_is_found_by_rendering_calls(name: str, form: CallForm | None) -> None:
    assert dialect(source(name), RowEncoder(tokenizer(name)).call_form) == form
