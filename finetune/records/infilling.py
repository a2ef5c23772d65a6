"""Filling in the middle (Bavarian et al. 2022, arXiv:2207.14255): the control tokens that families
of code models were trained with, found in a tokenizer, and how a hole's surroundings are laid out.

That a tokenizer has them says nothing of how well its model fills in: Qwen3's has Qwen2.5-Coder's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from faults import UserFault

Order = Literal["psm", "spm"]
"""The prefix first, or the suffix first with the prefix beside the middle."""


Cut = Literal["character", "line"]


@dataclass(frozen=True)
class Holes:
    """`rate`: the share of texts that are rearranged; `spm_rate`: of those, the share whose suffix
    comes first; `cut`: where a hole may begin and end."""

    rate: float
    spm_rate: float = 0.5
    cut: Cut = "character"


def holes_in_all(order: Order | None, cut: Cut) -> Holes | None:
    """What shows a document with a hole for certain; None: without."""
    return Holes(rate=1.0, spm_rate=float(order == "spm"), cut=cut) if order else None


@dataclass(frozen=True)
class Dialect:
    """Names of control tokens. `middle` None: the answer begins where the prefix ends, and the
    suffix always comes first, as it does with `suffix_first`. `end` stands behind a middle where
    that is not the end of the text. `file`, `repository`: what stands before a file and before a
    repository's name; `path_inside`: a file's path is a part of the prefix; `others`: what else no
    middle has in it. `named`: another has the same tokens, and it is meant only where it is named
    at import. `spm_rate`: of holes, how many had the suffix first where its models were trained."""

    name: str
    prefix: str
    suffix: str
    middle: str | None
    end: str | None = None
    file: str | None = None
    repository: str | None = None
    behind_repository: str = ""  # text behind its name
    others: tuple[str, ...] = ()
    suffix_first: bool = False
    path_inside: bool = False
    named: bool = False
    spm_rate: float = 0.5


# As the models' own publications have them. Of two that fit, the first is meant
DIALECTS = (
    Dialect(
        "qwen",
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        file="<|file_sep|>",
        repository="<|repo_name|>",
        behind_repository="\n",
        others=("<|fim_pad|>",),
    ),
    Dialect(
        "codegemma",
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        file="<|file_separator|>",
    ),
    Dialect(
        "starcoder2",
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        file="<file_sep>",
        repository="<repo_name>",
        others=("<fim_pad>",),
        path_inside=True,
    ),
    Dialect(
        "mellum",
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        file="<filename>",
        others=("<fim_pad>", "<reponame>", "<gh_stars>"),
        suffix_first=True,
        named=True,
    ),
    Dialect(
        "starcoder",
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        file="<filename>",
        repository="<reponame>",
        others=("<fim_pad>", "<gh_stars>"),
    ),
    Dialect("starcoder", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", others=("<fim_pad>",)),
    Dialect("santacoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>", others=("<fim-pad>",)),
    Dialect("codellama", "▁<PRE>", "▁<SUF>", "▁<MID>", end="▁<EOT>"),
    Dialect("deepseek", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", spm_rate=0.0),
    Dialect("codestral", "[PREFIX]", "[SUFFIX]", None, others=("[MIDDLE]",)),
)
NONE = "none"  # the tokens are there, and its model was never trained with them
NAMES = (*dict.fromkeys(each.name for each in DIALECTS), NONE)
CHOICE = "infilling"  # where a store's tokenizer_config.json has what was named at import


@dataclass(frozen=True)
class Infilling:
    """A dialect in a tokenizer's ids. `ends`: where an answer is over, besides the end of the
    text."""

    dialect: Dialect
    prefix: int
    suffix: int
    middle: int | None
    end: int | None
    file: int | None
    repository: int | None
    ends: frozenset[int]

    @property
    def name(self) -> str:
        return self.dialect.name

    def before_middle(self, prefix: list[int], suffix: list[int], order: Order) -> list[int]:
        """Up to where the middle begins. The suffix-first order is the paper's variant 2, which a
        model learns beside the other one."""
        if self.middle is None or self.dialect.suffix_first:
            end = [] if self.middle is None else [self.middle]
            return [self.suffix, *suffix, self.prefix, *prefix, *end]
        if order == "psm":
            return [self.prefix, *prefix, self.suffix, *suffix, self.middle]
        return [self.prefix, self.suffix, *suffix, self.middle, *prefix]


def found_in(number_of: Callable[[str], int | None], choice: str | None = None) -> Infilling | None:
    """`number_of`: a token's id in the tokenizer, None where it has none such. `choice`: of NAMES,
    what was named at import; None: the first that fits."""
    for dialect in DIALECTS:
        if dialect.named if choice is None else dialect.name != choice:
            continue
        needed = (dialect.prefix, dialect.suffix, dialect.middle, dialect.end, dialect.file)
        if all(name is None or number_of(name) is not None for name in needed):
            return _numbered(dialect, number_of)
    return None


def spm_rate_of(name: str | None) -> float:
    """Of holes, how many have the suffix first unless it is said: as the dialect's own models were
    trained."""
    return next((each.spm_rate for each in DIALECTS if each.name == name), Holes.spm_rate)


def infilling_of(tokenizer: Any) -> Infilling | None:
    """Of a fast tokenizer."""
    choice = tokenizer.init_kwargs.get(CHOICE)
    return found_in(tokenizer.backend_tokenizer.token_to_id, choice if choice in NAMES else None)


def cannot_infill(param: str | None = None, *, fix: str) -> UserFault:
    return UserFault(
        "cannot_infill",
        "The base's tokenizer has no control tokens for filling in the middle.",
        fix=fix,
        param=param,
    )


def _numbered(dialect: Dialect, number_of: Callable[[str], int | None]) -> Infilling:
    def number(name: str | None) -> int | None:
        return None if name is None else number_of(name)

    prefix, suffix = number(dialect.prefix), number(dialect.suffix)
    assert prefix is not None
    assert suffix is not None
    middle, end = number(dialect.middle), number(dialect.end)
    file, repository = number(dialect.file), number(dialect.repository)
    others = [number(name) for name in dialect.others]
    ends = {prefix, suffix, middle, end, file, repository, *others} - {None}
    return Infilling(
        dialect,
        prefix,
        suffix,
        middle,
        end,
        file,
        repository,
        frozenset(each for each in ends if each is not None),
    )
