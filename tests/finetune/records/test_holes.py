"""Documents with holes: what is rearranged is the same text, cut and laid out as by the published
algorithm, written here a second time."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import UserFault
from finetune.families.causal_lm.layout import Row
from finetune.families.causal_lm.reading import RowReader
from finetune.records.encode import RowEncoder
from finetune.records.holes import Piece, Rearranging
from finetune.records.infilling import Holes
from finetune.records.kinds import ROW
from tests.finetune.records.test_infilling import PIPED, QWEN, STAR
from tests.tiny import build_tiny_base, build_tokenizer

CODE = "def mean(values):\n    total = sum(values)\n    return total / len(values)  # 平均\n\n" * 3
TOKENIZER = build_tokenizer(control=QWEN)
ENCODER = RowEncoder(TOKENIZER)
PREFIX, MIDDLE, SUFFIX, _, REPOSITORY, FILE = map(TOKENIZER.convert_tokens_to_ids, QWEN)
EOS = TOKENIZER.eos_token_id


def made(ids: list[int], seed: Any = 0, longest: int = 4096, **holes: Any) -> list[Piece]:
    rearranging = Rearranging(ENCODER, Holes(**({"rate": 1.0} | holes)), longest)
    return rearranging(ids, random.Random(seed))


def flat(pieces: list[Piece]) -> list[int]:
    return [token for piece in pieces for token in piece.ids]


def text_of(pieces: list[Piece], role: str) -> str:
    ids = [token for piece in pieces if piece.role == role for token in piece.ids]
    return str(TOKENIZER.decode(ids))


def bavarian(text: str, begin: int, end: int, order: str) -> list[int]:
    """Section 3 of the paper and its appendix on SPM, variant 2: what a document becomes."""

    def enc(part: str) -> list[int]:
        return TOKENIZER.encode(part, add_special_tokens=False)  # type: ignore[no-any-return]

    prefix, middle, suffix = text[:begin], text[begin:end], text[end:]
    if order == "psm":
        return [PREFIX, *enc(prefix), SUFFIX, *enc(suffix), MIDDLE, *enc(middle), EOS]
    return [PREFIX, SUFFIX, *enc(suffix), MIDDLE, *enc(prefix), *enc(middle), EOS]


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.integers(),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from(["character", "line"]),
)
def test_what_is_laid_out_is_the_text_by_the_paper_s_algorithm(
    text: str, seed: int, spm: float, cut: Any
) -> None:
    ids = ENCODER.encode({"text": text}).input_ids
    pieces = made(ids, seed, spm_rate=spm, cut=cut)
    prefix, middle, suffix = (text_of(pieces, role) for role in ("prefix", "middle", "suffix"))
    assert prefix + middle + suffix == text
    begin, end = len(prefix), len(prefix) + len(middle)
    assert flat(pieces) == bavarian(text, begin, end, "spm" if spm else "psm")
    if cut == "line" and "\n" in text[:-1]:
        assert begin == 0 or text[begin - 1] == "\n"
        assert end == len(text) or text[end - 1] == "\n"
        assert middle


def test_as_many_as_asked_are_cut_and_anywhere_alike() -> None:
    text = "abcdefghijklmnopqrst"
    ids = ENCODER.encode({"text": text}).input_ids
    holes: dict[str, Any] = {"rate": 0.7, "spm_rate": 0.2}
    found = [made(ids, seed, **holes) for seed in range(1500)]
    cut = [pieces for pieces in found if len(pieces) > 1]
    assert all(flat(pieces) == ids for pieces in found if len(pieces) == 1)
    assert len(cut) / 1500 == pytest.approx(0.7, abs=0.04)
    first = [next(each.role for each in pieces if each.role) for pieces in cut]
    # A prefix or suffix that is empty has no piece: those that have one tell the order
    told = [flat(pieces)[:2] == [PREFIX, SUFFIX] for pieces in cut if text_of(pieces, "prefix")]
    assert sum(told) / len(told) == pytest.approx(0.2, abs=0.04)
    assert set(first) == {"prefix", "suffix", "middle"}
    # The smaller of two uniform places of 0 to 20, as two dice have it
    begins = Counter(len(text_of(pieces, "prefix")) for pieces in cut)
    for place in range(21):
        expected = (2 * (20 - place) + 1) / 21**2
        assert begins[place] / len(cut) == pytest.approx(expected, abs=0.035)


def test_each_file_of_a_repository_is_cut_by_itself_behind_its_name() -> None:
    def enc(part: str) -> list[int]:
        return TOKENIZER.encode(part, add_special_tokens=False)  # type: ignore[no-any-return]

    ids = [REPOSITORY, *enc("acme\n"), FILE, *enc("a.py\n"), *enc("one = 1\n"),
           FILE, *enc("b.py\n"), *enc("two = 2\n"), EOS]  # fmt: skip
    pieces = made(ids, spm_rate=0.0)
    told = TOKENIZER.decode(flat(pieces))
    assert told.startswith("<|repo_name|>acme\n<|file_sep|>a.py\n<|fim_prefix|>")
    assert "<|file_sep|>b.py\n<|fim_prefix|>" in told
    assert told.endswith("<|im_end|>")
    assert told.count("<|im_end|>") == 1, "the next file ends the first one's middle"
    files = told.split("<|file_sep|>")[1:]
    for file, text in zip(files, ("one = 1\n", "two = 2\n"), strict=True):
        prefix, rest = file.split("<|fim_prefix|>")[1].split("<|fim_suffix|>")
        suffix, middle = rest.removesuffix("<|im_end|>").split("<|fim_middle|>")
        assert prefix + middle + suffix == text


def test_a_path_is_inside_the_prefix_where_the_family_was_trained_so() -> None:
    """StarCoder 2 and The Stack v2 (arXiv:2402.19173), section 5.1."""
    names = [*STAR, "<file_sep>", "<repo_name>"]
    tokenizer = build_tokenizer(control=names)
    encoder = RowEncoder(tokenizer)
    files: Any = [{"path": "b.py", "text": "two = 2\n"}]
    row: Any = {"repo": "acme", "path": "a.py", "text": "one = 1\n", "more": files}
    cut = Rearranging(encoder, Holes(1.0, spm_rate=0.0), 4096)
    told = tokenizer.decode(flat(cut(encoder.encode(row).input_ids, random.Random(0))))
    assert told.startswith("<repo_name>acme<file_sep><fim_prefix>a.py\n")
    assert "<file_sep><fim_prefix>b.py\n" in told


def test_a_chunk_is_closed_and_keeps_halves_of_characters_and_its_length() -> None:
    ids = TOKENIZER.encode("灯" + CODE + "客", add_special_tokens=False)
    chunk = ids[1:-1]  # begins and ends within a character
    with pytest.raises(UnicodeDecodeError):
        b"".join(map(Rearranging(ENCODER, Holes(1.0), 9)._vocabulary.bytes_of, chunk)).decode()
    for seed in range(20):
        pieces = made(chunk, seed, spm_rate=0.5)
        assert flat(pieces)[-1] == EOS
        own = {piece.role: piece.ids for piece in pieces}
        put_back = [*own.get("prefix", []), *own.get("middle", []), *own.get("suffix", [])]
        vocabulary = Rearranging(ENCODER, Holes(1.0), 9)._vocabulary
        assert b"".join(map(vocabulary.bytes_of, put_back)) == b"".join(
            map(vocabulary.bytes_of, chunk)
        )
        short = made(chunk, seed, longest=len(chunk), spm_rate=0.5)
        assert len(flat(short)) <= len(chunk)
        if len(short) > 1:  # what is left of the surroundings is what is nearest to the hole
            left = {piece.role: piece.ids for piece in short}
            assert left.get("middle") == own.get("middle")
            assert (
                own.get("prefix", [])[-len(left.get("prefix", [0])) :] == left.get("prefix", [])[:]
            )
            assert own.get("suffix", [])[: len(left.get("suffix", []))] == left.get("suffix", [])


def test_all_but_what_begins_a_text_is_trained(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path, control=[*PIPED, "<|file_sep|>"])
    reader = RowReader(base, ROW, max_length=512)
    row = reader(b'{"text": "turn on the light"}', "line 1")
    rearranged = reader.rearranging(Holes(1.0))(row, random.Random(1))
    assert isinstance(rearranged, Row)
    assert len(rearranged) > len(row)
    assert list(rearranged.labels) == [0] + [1] * (len(rearranged) - 1)
    plain = reader.rearranging(Holes(0.0))(row, random.Random(1))
    assert plain is row


def test_a_base_without_the_tokens_says_so() -> None:
    with pytest.raises(UserFault) as caught:
        Rearranging(RowEncoder(build_tokenizer()), Holes(0.5), 64)
    assert (caught.value.code, caught.value.param) == ("cannot_infill", "hyperparameters.fim_rate")
