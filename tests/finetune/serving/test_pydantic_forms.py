"""Classes of pydantic as clients send them: taken, and read back whatever a random model writes."""

from __future__ import annotations

import datetime
import enum
import uuid
from typing import Annotated, Any, Literal

import pytest
import torch
from openai.lib._pydantic import to_strict_json_schema
from pydantic import UUID4, AnyUrl, BaseModel, Field, SecretStr, create_model

from faults import UserFault
from finetune.serving.structured import forms, lengths
from finetune.serving.structured.grammar import Grammars
from tests.tiny import build_tokenizer

VOCABULARY, STOP = 320, 2
TOKENIZER = build_tokenizer(vocab_size=VOCABULARY)


class Colour(enum.Enum):
    RED, GREEN = "red", "green"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"  # with a default the schema does not require it
    lives: int = Field(ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog", "hound"] = "dog"
    friend: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]
FIELDS: dict[str, Any] = {
    "date": datetime.date,
    "date-time": datetime.datetime,
    "time": datetime.time,
    "timedelta": datetime.timedelta,
    "optional date": datetime.date | None,
    "uuid": uuid.UUID,
    "uuid4": UUID4,
    "url": AnyUrl,
    "secret": Annotated[SecretStr, Field(min_length=2, max_length=4)],
    "tagged": Pet,
    "list of tagged": Annotated[list[Pet], Field(max_length=2)],
    "names of an enum": dict[Colour, bool],
    "names of literals": dict[Literal["a", "b"], int],
    "pattern and length": Annotated[str, Field(pattern=r"^[a-z]+$", max_length=5)],
    "code": Annotated[str, Field(pattern=r"^[A-Z]{2}-\d*$", min_length=4, max_length=6)],
    "example": Annotated[str, Field(max_length=3, json_schema_extra={"example": "a"})],
}


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(TOKENIZER, VOCABULARY, frozenset([STOP]))


def written(grammars: Grammars, schema: dict[str, Any], seed: int) -> str | None:
    """What a random model answers; None where it comes to no end."""
    draw = torch.Generator().manual_seed(seed)
    form = forms.of_schema(schema, "s")
    constraint = grammars.compile(form, "s", tenant="t")
    ids = list[int]()
    while len(ids) < 200:
        logits = 2 * torch.randn(VOCABULARY, generator=draw)
        constraint.mask(logits)
        token = int(logits.argmax())
        if token == STOP:
            return str(TOKENIZER.decode(ids))
        constraint.accept(token)
        ids.append(token)
    return None


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("strict", [True, False], ids=["openai", "pydantic"])
def test_what_a_class_asks_for_is_written_so_that_the_class_reads_it(
    grammars: Grammars, name: str, strict: bool
) -> None:
    form = create_model("Form", a=(FIELDS[name], ...))
    schema = to_strict_json_schema(form) if strict else form.model_json_schema()
    answers = [written(grammars, schema, seed) for seed in range(8)]
    whole = [answer for answer in answers if answer is not None]
    for answer in whole:
        form.model_validate_json(answer)
    assert whole


def test_what_has_another_way_is_refused_with_it() -> None:
    form = create_model("Form", a=(set[str], ...))
    with pytest.raises(UserFault) as caught:
        forms.of_schema(form.model_json_schema(), "s")
    assert "`list`, not `set`" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("pattern", "low", "high", "bounded"),
    [
        ("^[a-z]+$", 2, 5, "^[a-z]{2,5}$"),
        ("^[A-Z]{2}-\\d*$", 0, 6, "^[A-Z]{2}-\\d{0,3}$"),
        ("^a[\\]x]{3,}$", 9, None, "^a[\\]x]{8,}$"),
        ("^[0-9]{3}$", 1, 3, "^[0-9]{3}$"),
        ("^[0-9]{3}$", 0, 2, None),  # no text is
        ("^a+$", 3, 2, None),
        ("^a+b+$", 0, 9, None),
        ("^a?b+$", 0, 9, None),
        ("^(ab)+$", 0, 9, None),
        ("^a|b+$", 0, 9, None),
        ("[a-z]+", 0, 9, None),
    ],
)
def test_lengths_are_written_into_a_pattern_that_can_be_read_at_a_glance(
    pattern: str, low: int, high: int | None, bounded: str | None
) -> None:
    limits = {"minLength": low} | ({} if high is None else {"maxLength": high})
    assert lengths.bounded({"pattern": pattern, **limits}) == bounded
