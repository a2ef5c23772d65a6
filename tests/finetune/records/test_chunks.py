"""Tokens from remembered chunks are the tokenizer's own, for every way of parting text in use."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from finetune.records.borders import PROVED, Borders
from finetune.records.chunks import Chunks, parts_so, unpacked

_BEHIND = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PARTINGS = {
    "GPT-2": None,
    "Qwen": [rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_BEHIND}"],
    "Llama 3": [rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_BEHIND}"],
    "gpt-oss": [
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDINGS}?"
        rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDINGS}?|\p{{N}}{{1,3}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ],
    "DeepSeek": [
        r"\p{N}{1,3}",
        "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
}
CORPUS = [
    "The cat's hat, isn't IT'S 1234567 items:\n\n  def f(x):\n\treturn x['a'] // 2  # done.\n",
    "你好，世界。客厅的灯是开着的吗？不是！",
    "https://www.example.org/a-b_c?d=e&f=g www words Words WORDS camelCase e\u0301te\u0301 🏠",
]
BORDER = "<|end|>"
_ODD = st.sampled_from(
    [*"aZé1 \n\t\r'/，。你", "\u0301", "\u3000", "\u200d", "\x1c", "\x85", "\U0001fae8"]
    + [
        "'s",
        "'LL",
        "  ",
        "\n\n",
        " the",
        "word",
        "123",
        ".\n",
        ":/",
        "客厅",
        "cat's",
        ":\n    ",
        ")]\n\t",
        "  \n",
        "_x",
        "行1：",
        "（UTC）",
        "”",
        "……",
        "字'",
        "𞤀",
        "\U000323b0",
    ]
)
TEXTS = st.lists(_ODD | st.text(max_size=3), max_size=40).map("".join)


def _built(parting: list[str] | None, *, nfc: bool = False) -> Tokenizer:
    built = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(each), "isolated") for each in parting or ()]
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=parting is None)
    built.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytewise])
    built.decoder = decoders.ByteLevel()
    if nfc:
        built.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(
        CORPUS * 3, trainers.BpeTrainer(initial_alphabet=alphabet, vocab_size=700)
    )
    built.add_special_tokens([BORDER])
    return built


def _chunks(built: Tokenizer) -> Chunks:
    return Chunks(built, (BORDER, built.token_to_id(BORDER)))


def _ids(chunks: Chunks, *texts: str) -> list[list[int]]:
    return [unpacked(each) for each in chunks.packed(list(texts))]


@pytest.fixture(scope="module", params=PARTINGS)
def remembered(request: pytest.FixtureRequest) -> tuple[Tokenizer, Chunks]:
    bytewise = _built(PARTINGS[request.param], nfc=request.param == "Qwen")
    return bytewise, _chunks(bytewise)


@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_remembered_chunks_have_the_tokens_of_the_whole(
    remembered: tuple[Tokenizer, Chunks], text: str
) -> None:
    bytewise, chunks = remembered
    own = bytewise.encode(text, add_special_tokens=False).ids
    assert _ids(chunks, text) == [own]
    assert _ids(chunks, text, "", text) == [own, [], own]  # now all from memory


def test_every_known_way_to_part_text_is_found_fit(
    remembered: tuple[Tokenizer, Chunks],
) -> None:
    assert parts_so(remembered[0])


@pytest.mark.parametrize("parting", [r"[^\n]+|\n", r"\S+ \S+|\s+|\S+", r"[A-Za-z][0-9]|[\s\S]"])
def test_a_tokenizer_whose_tokens_reach_over_words_is_found_unfit(parting: str) -> None:
    assert not parts_so(_built([parting]))


def test_memory_stays_bounded_and_right(
    remembered: tuple[Tokenizer, Chunks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.records.chunks.CACHED", 10)
    monkeypatch.setattr("finetune.records.chunks.NEWEST", 300)
    bytewise, chunks = remembered[0], _chunks(remembered[0])
    for number in range(40):
        text = f"{CORPUS[number % 3]} {number} " + "x" * 100 + " end"
        assert _ids(chunks, text) == [bytewise.encode(text, add_special_tokens=False).ids]
    assert len(chunks._known) < 40  # of one text at the most
    assert sum(map(len, chunks._whole)) <= 300


def test_texts_with_borders_are_encoded_as_by_the_tokenizer(real: PreTrainedTokenizerFast) -> None:
    borders, fast, drawn = Borders(real), real.backend_tokenizer, random.Random(1)
    assert borders.is_quick
    tokens = sorted(real.added_tokens_encoder)
    for _ in range(2 * PROVED):
        text = "".join(f"{drawn.choice(tokens)}{drawn.choice(CORPUS)}" for _ in range(5))
        cut = borders.cut(text)
        assert cut is not None
        assert cut.ids == fast.encode(text, add_special_tokens=False).ids
    assert borders.is_quick


def test_one_difference_ends_the_quick_way(
    real: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    borders = Borders(real)
    monkeypatch.setattr(Chunks, "packed", lambda _, texts: [bytes(4) for _ in texts])
    text = f"<|im_start|>user\n{CORPUS[0]}<|im_end|>"
    cut = borders.cut(text)
    assert cut is not None
    assert cut.ids == real.backend_tokenizer.encode(text, add_special_tokens=False).ids
    assert not borders.is_quick
