"""Filling in the middle: each family's tokens are found and laid out as its publication has it."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from faults import UserFault
from finetune.packaging.base.tokenizer import name_infilling
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.infilling import infilling_of
from finetune.serving.detokenize import Detokenizer
from tests.tiny import build_tokenizer

PIPED = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
QWEN = [*PIPED, "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"]
GEMMA = [*PIPED, "<|file_separator|>"]
STAR = ["<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]
DEEPSEEK = ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"]


@pytest.mark.parametrize(
    ("control", "name", "laid_out"),
    [
        (QWEN, "qwen", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"),
        (GEMMA, "codegemma", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"),
        ([*STAR, "<file_sep>", "<repo_name>"], "starcoder2",
         "<fim_prefix>a<fim_suffix>b<fim_middle>"),
        (STAR, "starcoder", "<fim_prefix>a<fim_suffix>b<fim_middle>"),
        ([*STAR, "<filename>", "<reponame>", "<gh_stars>"], "starcoder",
         "<fim_prefix>a<fim_suffix>b<fim_middle>"),
        ([each.replace("_", "-") for each in STAR], "santacoder",
         "<fim-prefix>a<fim-suffix>b<fim-middle>"),
        (["▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"], "codellama", "▁<PRE>a▁<SUF>b▁<MID>"),
        (DEEPSEEK, "deepseek", "<｜fim▁begin｜>a<｜fim▁hole｜>b<｜fim▁end｜>"),
        (["[PREFIX]", "[SUFFIX]", "[MIDDLE]"], "codestral", "[SUFFIX]b[PREFIX]a"),
    ],
)  # fmt: skip
def test_a_dialect_is_found_and_laid_out_as_published(
    control: list[str], name: str, laid_out: str
) -> None:
    tokenizer = build_tokenizer(control=control)
    encoder = RowEncoder(tokenizer)
    assert encoder.infilling is not None
    assert encoder.infilling.name == name
    assert tokenizer.decode(encoder.infill_prompt("a", "b")) == laid_out
    numbers = set(tokenizer.convert_tokens_to_ids(control))
    assert encoder.infilling.ends == numbers
    assert numbers.isdisjoint(encoder.stop_ids), "it may stand in a text that has no hole"


@pytest.mark.parametrize("control", [[], ["<|fim_prefix|>"], DEEPSEEK[:2], ["[PREFIX]"]])
def test_a_tokenizer_without_all_of_them_has_none(control: list[str]) -> None:
    tokenizer = build_tokenizer(control=control)
    assert infilling_of(tokenizer) is None
    with pytest.raises(UserFault) as caught:
        RowEncoder(tokenizer).infill_prompt("a", "b")
    assert (caught.value.code, caught.value.param) == ("cannot_infill", "suffix")


def test_a_dialect_is_the_one_that_was_named(tmp_path: Path) -> None:
    """Kept in the tokenizer's own settings, wherever it goes."""
    build_tokenizer(control=[*STAR, "<filename>"]).save_pretrained(tmp_path)
    name_infilling(tmp_path, "mellum")
    load_tokenizer(tmp_path).save_pretrained(tmp_path / "away")
    tokenizer = load_tokenizer(tmp_path / "away")
    encoder = RowEncoder(tokenizer)
    asked = tokenizer.decode(encoder.infill_prompt("a", "b"))
    assert asked == "<fim_suffix>b<fim_prefix>a<fim_middle>"
    name_infilling(tmp_path, "none")
    assert infilling_of(load_tokenizer(tmp_path)) is None
    for unknown in ("qwen", "x"):
        with pytest.raises(UserFault) as caught:
            name_infilling(tmp_path, unknown)
        assert (caught.value.code, caught.value.param) == ("cannot_infill", "infilling")


def test_the_piece_behind_a_hole_gets_no_space_that_a_text_s_start_gets() -> None:
    """As SentencePiece's, which Code Llama has."""
    pieces = ["<unk>", "▁", "\n", "a", "b", "▁a", "▁b", "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"]
    core = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(pieces)},
            merges=[("▁", "a"), ("▁", "b")],
            unk_token="<unk>",
        )
    )
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<unk>", additional_special_tokens=pieces[-4:]
    )
    encoder = RowEncoder(tokenizer)
    ids = encoder.infill_prompt("a", "b")
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁<PRE>", "▁a", "▁<SUF>", "b", "▁<MID>"]
    number = tokenizer.convert_tokens_to_ids("▁b")
    assert Detokenizer(tokenizer).push(number) == "b"
    assert Detokenizer(tokenizer, before=encoder.line_break).push(number) == " b", "of the middle"
