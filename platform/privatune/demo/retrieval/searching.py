"""Search as a customer would: vectors by POST /v1/embeddings, the nearest documents, figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from openai import OpenAI
from rich.console import Console

from finetune.grading.retrieval import measures
from privatune.demo.phases import counted
from privatune.demo.retrieval.rows import Searches, texts

AT_ONCE = 50  # texts a request


@dataclass(frozen=True)
class Searched:
    """`figures`: by measure, of each query; `first`: the number of the nearest document of each."""

    name: str
    figures: dict[str, list[float]]
    first: list[int]


def search(
    client: OpenAI, model: str, searches: Searches, console: Console, *, who: str
) -> Searched:
    queries = texts(searches.heldout)
    total = len(queries) + len(searches.documents)
    with counted(console, f"{who}: texts embedded", total) as one:
        asked = _vectors(client, model, queries, one, input_type="query")
        found = _vectors(client, model, searches.documents, one, input_type="document")
    return Searched(
        who,
        measures(asked, found, searches.belonging()),
        [int(place) for place in (asked @ found.T).argmax(1)],
    )


def _vectors(
    client: OpenAI, model: str, wanted: Sequence[str], one_more: Any, *, input_type: str
) -> npt.NDArray[Any]:
    """[texts, dimensions], each of length 1."""
    rows: list[list[float]] = []
    for start in range(0, len(wanted), AT_ONCE):
        part = list(wanted[start : start + AT_ONCE])
        answer = client.embeddings.create(
            model=model, input=part, extra_body={"input_type": input_type}
        )
        for each in answer.data:
            rows.append(each.embedding)
            one_more()
    vectors = np.asarray(rows, dtype=np.float64)
    unit: npt.NDArray[Any] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
