"""Rows without a template: prompt and completion, and plain text."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from faults import UserFault
from finetune.records.encode import RowEncoder, load_tokenizer
from tests.tiny import build_tiny_base, build_tokenizer

texts = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=20)


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece's ways: a word begins with ▁, also the first one, and <s> is put in front."""
    pieces = ["<s>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz\n", "▁a", "▁b", "ab", "▁ab"]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    merges = [("▁", "a"), ("▁", "b"), ("a", "b"), ("▁a", "b")]
    core = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    core.decoder = decoders.Metaspace(prepend_scheme="always", split=False)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


@settings(max_examples=50, deadline=None)
@given(prompt=texts, completion=texts)
def test_only_the_completion_and_the_end_are_trained(prompt: str, completion: str) -> None:
    tokenizer = build_tokenizer()
    encoded = RowEncoder(tokenizer).encode({"prompt": prompt, "completion": completion})
    trained = [i for i, t in zip(encoded.input_ids, encoded.trained, strict=True) if t]
    assert tokenizer.decode(trained[:-1]) == completion
    assert trained[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(encoded.input_ids[:-1]) == prompt + completion


@settings(max_examples=50, deadline=None)
@given(prompt=texts, completion=texts)
def test_a_row_begins_with_the_tokens_of_its_prompt_as_inference_sends_them(
    prompt: str, completion: str
) -> None:
    encoder = RowEncoder(build_tokenizer())
    encoded = encoder.encode({"prompt": prompt, "completion": completion})
    before = encoder.encode_prompt(prompt)
    assert encoded.input_ids[: len(before)] == before
    assert encoded.trained.index(True) == len(before)


def test_a_tokenizer_with_a_begin_token_gets_it_once_and_no_space_is_made_up() -> None:
    tokenizer = llama_tokenizer()
    encoded = RowEncoder(tokenizer).encode({"prompt": "a\n", "completion": "b"})
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids) == ["<s>", "▁a", "\n", "b", "</s>"]
    assert encoded.trained == [False, False, False, True, True]


def test_a_token_across_the_seam_is_split_there() -> None:
    tokenizer = llama_tokenizer()
    encoded = RowEncoder(tokenizer).encode({"prompt": "xa", "completion": "bx"})
    tokens = tokenizer.convert_ids_to_tokens(encoded.input_ids)
    assert tokens == ["<s>", "▁", "x", "a", "b", "x", "</s>"]
    assert encoded.trained == [False] * 4 + [True] * 3


def test_text_is_trained_whole_except_what_nothing_precedes() -> None:
    tokenizer = llama_tokenizer()
    with_begin = RowEncoder(tokenizer).encode({"text": "a b"})
    assert tokenizer.convert_ids_to_tokens(with_begin.input_ids) == ["<s>", "▁a", "▁b", "</s>"]
    assert with_begin.trained == [False, True, True, True]

    without_begin = RowEncoder(build_tokenizer()).encode({"text": "abc"})
    assert without_begin.trained == [False, *[True] * (len(without_begin.input_ids) - 1)]


def test_the_end_is_trained_though_it_is_the_padding_token_too() -> None:
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    encoded = RowEncoder(tokenizer).encode({"prompt": "a", "completion": "b"})
    assert encoded.input_ids[-1] == tokenizer.pad_token_id
    assert encoded.trained[-1]


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = build_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserFault) as caught:
        RowEncoder(tokenizer).encode({"text": "abc"})
    assert caught.value.code == "no_eos"


def test_a_truncation_saved_with_the_tokenizer_does_not_cut_rows(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path)
    whole = len(RowEncoder(load_tokenizer(base)).encode({"text": "abc " * 50}).input_ids)
    core = Tokenizer.from_file(str(base / "tokenizer.json"))
    core.enable_truncation(5)
    core.save(str(base / "tokenizer.json"))
    assert len(RowEncoder(load_tokenizer(base)).encode({"text": "abc " * 50}).input_ids) == whole


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserFault) as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == "no_tokenizer"
    assert str(tmp_path) in str(caught.value)
