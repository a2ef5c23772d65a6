"""Texts as a base that embeds takes them (prompt, text, special tokens, cut at its length), and
pairs of them as one that ranks does. Not for chats and completions (see encode.py)."""

from pathlib import Path
from typing import Any

from finetune.records.encode import load_tokenizer
from finetune.records.ranking import Ranking, read_ranking
from finetune.records.recipe import Recipe, Side, read_recipe
from finetune.records.unlocked import encoded


class TextEncoder:
    """`longest`: tokens of a text, the special ones included, if less than the base's own limit."""

    def __init__(self, base_dir: Path, longest: int | None = None, tokenizer: Any = None) -> None:
        """`tokenizer`: the base's, where it is loaded already; it is not changed. Raises UserFault
        `no_recipe`, `recipe_unsupported`, `no_tokenizer`."""
        self.recipe: Recipe = read_recipe(base_dir)
        self.longest = min(longest or self.recipe.max_length, self.recipe.max_length)
        self.tokenizer: Any = tokenizer or load_tokenizer(base_dir)
        # tokenizer.json may carry a truncation or padding of its own, which would act unseen
        self._whole, self._cut = (_bare(self.tokenizer) for _ in range(2))
        self._cut.enable_truncation(self.longest)

    def encode(self, text: str, side: Side) -> list[int]:
        """As it is embedded: what stands behind a text's own tokens (a separator, an end) stays."""
        return self.measured(text, side)[0]

    def measured(self, text: str, side: Side) -> tuple[list[int], int]:
        """(its tokens as it is embedded, how many there are of the whole)."""
        text = self._prompted(text, side)
        ids: list[int] = encoded(self._whole, text).ids
        if len(ids) <= self.longest:
            return ids, len(ids)
        return encoded(self._cut, text).ids, len(ids)

    def _prompted(self, text: str, side: Side) -> str:
        text = self.recipe.prompt_of(side) + text
        return text.lower() if self.recipe.lower_case else text


class PairEncoder:
    """A query beside a document, as one sequence; `longest`: its tokens, if less than the base's
    own limit."""

    def __init__(self, base_dir: Path, longest: int | None = None, tokenizer: Any = None) -> None:
        """As of `TextEncoder`. Raises UserFault `ranking_unsupported`, `no_tokenizer`."""
        self.ranking: Ranking = read_ranking(base_dir)
        self.longest = min(longest or self.ranking.max_length, self.ranking.max_length)
        self.tokenizer: Any = tokenizer or load_tokenizer(base_dir)
        self._whole, self._cut = (_bare(self.tokenizer) for _ in range(2))
        self._cut.enable_truncation(self.longest, strategy="longest_first")

    def tokens_of(self, query: str) -> int:
        """Of a query by itself."""
        return len(encoded(self._whole, query))

    def beginning(self, document: str, tokens: int) -> str:
        """The part of it that its first tokens were made of."""
        found = encoded(self._whole, document, special=False)
        return document if len(found) <= tokens else document[: found.offsets[tokens - 1][1]]

    def measured(self, query: str, document: str) -> tuple[list[int], list[bool], int]:
        """(its tokens, which of them stand from the document's first on, how many there are of the
        whole)."""
        whole = encoded(self._whole, query, document)
        found = whole if len(whole) <= self.longest else encoded(self._cut, query, document)
        places = found.sequence_ids
        # A document may have no token of its own; what ends it stays
        first = places.index(1) if 1 in places else len(places) - 1
        return found.ids, [place >= first for place in range(len(places))], len(whole)


def _bare(tokenizer: Any) -> Any:
    from tokenizers import Tokenizer

    fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    fast.no_truncation()
    fast.no_padding()
    return fast
