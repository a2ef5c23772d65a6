"""Rows for training and held-out questions: a spoken command, and the one JSON call it means.

A held-out question comes from a template and names a device that no training row uses, and no
training template can produce it: hassil's own recogniser is asked.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hassil import Intents, recognize_all
from hassil.intents import SlotList, TextSlotList
from hassil.recognize import RecognizeResult

from privatune.demo.grammar import Grammar, Template
from privatune.demo.home import AREAS, DEVICES, FLOORS, HELDOUT_DEVICES, SPOKEN, TRAIN_DEVICES
from privatune.demo.sampling import Speaker

SYSTEM = "Reply with one JSON call."
TRAIN_ROWS = 800
HELDOUT_ROWS = 200

_FIRST = ("name", "area", "floor", "domain", "device_class")
_HERE = "here"  # the room the speaker stands in; a call leaves it out


@dataclass(frozen=True)
class Command:
    """A spoken command and the call that answers it."""

    text: str
    call: str
    template: Template

    def turns(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.text}, {"role": "assistant", "content": self.call}]

    def question(self, examples: "Sequence[Command]" = ()) -> list[dict[str, str]]:
        """A chat that ends with the command; each example is a turn before it, answered."""
        shown = [turn for example in examples for turn in example.turns()]
        return [{"role": "system", "content": SYSTEM}, *shown, self.turns()[0]]

    def row(self) -> dict[str, Any]:
        """OpenAI's chat form, as a fine-tuning file has it."""
        return {"messages": [*self.question(), self.turns()[1]]}


def compact(intent: str, slots: dict[str, Any]) -> str:
    """The call as compact JSON: the intent, then the slots in one fixed order."""
    order = sorted(slots, key=lambda key: (_FIRST.index(key) if key in _FIRST else 9, key))
    call = {"intent": intent} | {key: _plain(slots[key]) for key in order}
    return json.dumps(call, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def train_commands(grammar: Grammar, count: int = TRAIN_ROWS) -> list[Command]:
    """`count` different commands from the training templates and training devices."""

    def fair(command: Command) -> bool:
        return meanings(command.text, grammar.parsed) == {command.call}

    return _draw(grammar, grammar.train, TRAIN_DEVICES, split="train", count=count, fair=fair)


def heldout_commands(grammar: Grammar, count: int = HELDOUT_ROWS) -> list[Command]:
    """`count` questions that no training template can say, each with one possible meaning."""
    trained = grammar.only(grammar.train)

    def fair(command: Command) -> bool:
        unseen = not meanings(command.text, trained)
        return unseen and meanings(command.text, grammar.parsed) == {command.call}

    return _draw(grammar, grammar.heldout, HELDOUT_DEVICES, split="heldout", count=count, fair=fair)


def _draw(
    grammar: Grammar,
    templates: Sequence[Template],
    devices: dict[str, tuple[str, ...]],
    *,
    split: str,
    count: int,
    fair: Callable[[Command], bool],
) -> list[Command]:
    """A kind of call by chance, then one of its templates, then a sentence, until enough."""
    rng = random.Random(f"{split} {grammar.seed}")  # noqa: S311
    speaker = Speaker(grammar.parsed, rng, devices)
    kinds: dict[tuple[str, ...], list[Template]] = defaultdict(list)
    for template in templates:
        kinds[template.kind].append(template)
    drawn: dict[str, Command] = {}
    for _ in range(100 * count):
        template = rng.choice(rng.choice(list(kinds.values())))
        text, slots = speaker.say(template)
        command = Command(text, compact(template.intent, slots), template)
        if text not in drawn and fair(command):
            drawn[text] = command
            if len(drawn) == count:
                return list(drawn.values())
    raise ValueError(f"the {split} templates cannot say {count} different fair sentences")


def meanings(text: str, intents: Intents) -> set[str]:
    """Every call that the recogniser reads in a sentence."""
    found = recognize_all(text, intents, slot_lists=_HOME, intent_context={"area": _HERE})
    return {compact(result.intent.name, _slots(result)) for result in found}


def _slots(result: RecognizeResult) -> dict[str, Any]:
    slots = {key: entity.value for key, entity in result.entities.items()}
    return {key: value for key, value in slots.items() if (key, value) != ("area", _HERE)}


def write_rows(path: Path, commands: Iterable[Command]) -> None:
    lines = (json.dumps(command.row(), ensure_ascii=False) + "\n" for command in commands)
    path.write_text("".join(lines), encoding="utf-8")


_HOME: dict[str, SlotList] = {
    "area": TextSlotList.from_strings(AREAS),
    "floor": TextSlotList.from_strings(FLOORS),
    "name": TextSlotList.from_tuples(
        [(name, name, {"domain": domain}) for domain in DEVICES for name in DEVICES[domain]]
    ),
    **{name: TextSlotList.from_strings(words) for name, words in SPOKEN.items()},
}
