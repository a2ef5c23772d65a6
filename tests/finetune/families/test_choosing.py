"""An imported base is of the first family that knows its model."""

from typing import Any

import pytest

from faults import UserFault
from finetune import families
from finetune.families import family, family_of, gguf_architectures


class Embeddings:
    gguf_architectures = ("bert",)

    def architecture(self, config: dict[str, Any], where: str) -> str:
        if config["model_type"] != "bert":
            raise UserFault("of_the_second", "Not this one either.", where=where)
        return "BertModel"


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    causal = family("causal_lm")
    monkeypatch.setattr(families, "BASES", ("causal_lm", "embedding"))
    monkeypatch.setattr(
        families, "family", lambda name: causal if name == "causal_lm" else Embeddings()
    )


@pytest.mark.usefixtures("two")
def test_each_family_is_asked_and_the_first_ones_refusal_is_told() -> None:
    llama = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    bert = {"model_type": "bert", "architectures": ["BertModel"]}
    assert family_of(llama, "config.json") == ("causal_lm", "LlamaForCausalLM")
    assert family_of(bert, "config.json") == ("embedding", "BertModel")
    with pytest.raises(UserFault) as refused:
        family_of({"model_type": "t5"}, "config.json")
    assert refused.value.code != "of_the_second"
    assert gguf_architectures()[-1] == "bert"
    assert "llama" in gguf_architectures()
