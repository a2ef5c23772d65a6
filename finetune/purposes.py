"""What files are for: OpenAI's purposes, who sets them, and what is checked. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    TRAINING = "fine-tune"
    USER_DATA = "user_data"
    EVALS = "evals"
    RESULTS = "fine-tune-results"


@dataclass(frozen=True)
class Rule:
    """`brought`: customers upload such files; the others are made by jobs. `rows`: a file holds
    rows to train on, which are checked before it can be used."""

    brought: bool
    rows: bool


RULES: dict[Purpose, Rule] = {
    Purpose.TRAINING: Rule(brought=True, rows=True),
    Purpose.USER_DATA: Rule(brought=True, rows=False),
    Purpose.EVALS: Rule(brought=True, rows=False),
    Purpose.RESULTS: Rule(brought=False, rows=False),
}

BROUGHT = tuple(purpose for purpose, rule in RULES.items() if rule.brought)
OF_ROWS = tuple(purpose for purpose, rule in RULES.items() if rule.rows)
