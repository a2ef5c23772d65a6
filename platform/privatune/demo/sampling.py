"""Say one sentence of a template at random, and note what it filled the slots with."""

import random
from dataclasses import dataclass, field
from typing import Any

from hassil import Intents
from hassil.expression import (
    Alternative,
    Expression,
    Group,
    ListReference,
    Permutation,
    RuleReference,
    TextChunk,
)
from hassil.intents import TextSlotList
from hassil.parse_expression import parse_sentence
from hassil.util import normalize_whitespace

from privatune.demo.grammar import Template
from privatune.demo.home import AREAS, FLOORS, SPOKEN, SPOKEN_NUMBERS

SAID = 0.7  # how often an optional word is said


@dataclass
class Speaker:
    """Walks the expression of a template; `devices` are the names it may say, by domain."""

    intents: Intents
    rng: random.Random
    devices: dict[str, tuple[str, ...]]
    filled: dict[str, Any] = field(default_factory=dict)

    def say(self, template: Template) -> tuple[str, dict[str, Any]]:
        """A sentence, and its slots (the template's fixed ones too)."""
        self.filled = dict(template.fixed)
        self._names = [name for domain in template.domains for name in self.devices[domain]]
        text = self._walk(parse_sentence(template.text).expression)
        return normalize_whitespace(text).strip(), self.filled

    def _walk(self, node: Expression) -> str:
        match node:
            case TextChunk():
                return node.original_text
            case Alternative():
                return self._walk(self._pick(node))
            case Permutation():
                items = self.rng.sample(node.items, len(node.items))
                return " ".join(self._walk(item) for item in items)
            case Group():
                return "".join(self._walk(item) for item in node.items)
            case RuleReference():
                return self._walk(self.intents.expansion_rules[node.rule_name].expression)
            case ListReference():
                return self._fill(node)
        raise TypeError(f"hassil has a new kind of expression: {type(node).__name__}")

    def _pick(self, choice: Alternative) -> Expression:
        """What is optional is mostly said, as people do."""
        if choice.is_optional:
            said = [item for item in choice.items if not _empty(item)]
            return self.rng.choice(said) if self.rng.random() < SAID else TextChunk()
        return self.rng.choice(choice.items)

    def _fill(self, gap: ListReference) -> str:
        text, value = self._choose(gap.list_name)
        self.filled[gap.slot_name] = value
        return text

    def _choose(self, list_name: str) -> tuple[str, Any]:
        """What is said, and what it means: (text, slot value)."""
        words = {"name": self._names, "area": AREAS, "floor": FLOORS} | SPOKEN
        if list_name in words:
            word = self.rng.choice(words[list_name])
            return word, word
        if list_name in SPOKEN_NUMBERS:
            number = self.rng.choice(SPOKEN_NUMBERS[list_name])
            return str(number), number
        known = self.intents.slot_lists[list_name]
        if not isinstance(known, TextSlotList):
            raise TypeError(f"no words for the grammar's list {{{list_name}}}: add them to home.py")
        value = self.rng.choice(known.values)
        return self._walk(value.text_in), value.value_out


def _empty(item: Expression) -> bool:
    return isinstance(item, TextChunk) and item.is_empty
