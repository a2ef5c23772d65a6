"""The shape of a preview: what a model is shown of a record. No tokenizer is needed to read one."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from finetune.records.check.spec import Problem


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Piece(_Frame):
    """A token, or the few that make one character together. `special`: a control token; `part`: of
    a document with a hole, which of its three parts it is of."""

    ids: list[int]
    text: str
    trained: bool
    special: bool = False
    part: Literal["prefix", "suffix", "middle"] | None = None


class Preview(_Frame):
    """`used`: whether it would be trained on at all. Each sequence is one that the model is shown;
    `tokens` and `trained` count all of them, `hidden` those that are not told here; `parts` names
    them where a record has several that differ, as the sides of a pair do. `margin` and `score` are
    the record's own, where it has one. `problems` are those of a check's report that are about this
    record."""

    used: bool
    tokens: int
    trained: int
    hidden: int
    sequences: list[list[Piece]]
    parts: list[str] = []
    margin: float | None = None
    score: float | None = None
    problems: list[Problem]
