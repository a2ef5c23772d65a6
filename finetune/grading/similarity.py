"""How alike two texts are, 0 to 1, by the measures that OpenAI's graders name.

Words are runs of letters and digits in lower case; each Chinese character or Japanese kana is a
word of its own, as nothing stands between them.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from rapidfuzz import fuzz
from rapidfuzz.distance import LCSseq
from sacrebleu.metrics.bleu import BLEU

LONGEST = 100_000  # characters of either text: the measures take time by the product of both
LONGEST_FUZZY = 4_000  # rapidfuzz tries each part of the longer text: 0.1 s here, minutes at 20,000

_ASIAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ASIAN}]|[^\W_{_ASIAN}]+")
_HAS_ASIAN = re.compile(rf"[{_ASIAN}]")


def longest(metric: str) -> int:
    """Characters of either text that a metric takes."""
    return LONGEST_FUZZY if metric == "fuzzy_match" else LONGEST


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def fuzzy_match(text: str, reference: str) -> float:
    """rapidfuzz's weighted ratio."""
    return float(fuzz.WRatio(text, reference)) / 100


def bleu(text: str, reference: str) -> float:
    """sacrebleu's sentence BLEU (Papineni et al. 2002), exponentially smoothed; in Chinese by
    characters."""
    tokenize = "zh" if _HAS_ASIAN.search(reference) else "13a"
    score = BLEU(tokenize=tokenize, effective_order=True).sentence_score(text, [reference])
    return float(score.score) / 100


def gleu(text: str, reference: str) -> float:
    """The lesser of precision and recall of all 1- to 4-grams (Wu et al. 2016)."""
    ours, theirs = words(text), words(reference)
    shared = made = wanted = 0
    for n in range(1, 5):
        have, want = _grams(ours, n), _grams(theirs, n)
        shared += (have & want).total()
        made += have.total()
        wanted += want.total()
    return shared / max(made, wanted) if max(made, wanted) else float(text == reference)


def rouge(n: int) -> Callable[[str, str], float]:
    """ROUGE-n, the F1 of n-grams (Lin 2004)."""

    def measure(text: str, reference: str) -> float:
        have, want = _grams(words(text), n), _grams(words(reference), n)
        return _f1((have & want).total(), have.total(), want.total())

    return measure


def rouge_l(text: str, reference: str) -> float:
    """ROUGE-L, the F1 of the longest common subsequence of words (Lin 2004)."""
    ours, theirs = words(text), words(reference)
    return _f1(int(LCSseq.similarity(ours, theirs)), len(ours), len(theirs))


METRICS: dict[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    **{f"rouge_{n}": rouge(n) for n in range(1, 6)},
    "rouge_l": rouge_l,
}


def _grams(found: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(found[i : i + n]) for i in range(len(found) - n + 1))


def _f1(shared: int, made: int, wanted: int) -> float:
    return 2 * shared / (made + wanted) if made and wanted else 0.0
