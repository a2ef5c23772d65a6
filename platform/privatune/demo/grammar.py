"""The English command grammar of Home Assistant, its templates split into training and held-out.

From home-assistant-intents (Apache-2.0), read with hassil. Sampling stands in `sampling`, rows in
`commands`.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import home_assistant_intents
from hassil import Intents
from hassil.expression import ListReference, Sentence, Sequence
from hassil.parse_expression import parse_sentence

from privatune.demo.home import DEVICES

INTENTS = (
    "HassTurnOn", "HassTurnOff", "HassLightSet", "HassSetPosition", "HassClimateSetTemperature",
    "HassClimateGetTemperature", "HassFanSetSpeed", "HassSetVolume", "HassMediaPause",
    "HassStartTimer", "HassCancelTimer",
)  # fmt: skip

# A demo of minutes learns fewer kinds of call, and learns them well.
LEFT_OUT = (
    "{floor}", "{color_temperature", "{timer_half:", "{timer_seconds:", "{timer_command:",
    "<everywhere>", "<here>", "[in] here",
    # What only someone with the list of devices could tell:
    "{name} <light>",  # does "lamp" belong to the name?
    "[volume] (up|down) to",  # "turn the pantry down to 30": its sound, its blinds?
)  # fmt: skip

# "Safe." "Stop." "The library to 48." What is meant could be anything.
UNCLEAR = (
    "[<the>] {name}",
    "stop [playing] [[<the>] <media>]",
    "[<numeric_value_set>] [<the>] {area} [to] {brightness}[([ ]%)| percent]",
)

UNITS = re.compile("(start_)?(hours|minutes)")
HELD_OUT_SHARE = 0.25
PHRASINGS = 3  # a kind of call with fewer is trained on only: two at least are left to learn from


@dataclass(frozen=True)
class Template:
    """One sentence template, the slots it fixes, and all the slots it can fill."""

    intent: str
    text: str
    fixed: tuple[tuple[str, str], ...]
    domains: tuple[str, ...]  # of the device it may name; () if it names none
    slots: tuple[str, ...]

    @property
    def kind(self) -> tuple[str, ...]:
        """Templates of one kind mean the same kind of call; hours and minutes are one kind."""
        slots = {UNITS.sub("time", slot) for slot in self.slots}
        return (self.intent, *(f"{key}={value}" for key, value in self.fixed), *sorted(slots))


class Grammar:
    """The chosen intents: `train` and `heldout` templates, drawn apart by the seed."""

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed
        path = Path(home_assistant_intents.__file__).parent / "data" / "en.json"
        source = json.loads(path.read_text(encoding="utf-8"))
        self._source = source | {"intents": {name: source["intents"][name] for name in INTENTS}}
        self.parsed = Intents.from_dict(self._source)
        templates = tuple(self._templates())
        self.heldout = _hold_out(templates, random.Random(f"templates {seed}"))  # noqa: S311
        kept_back = {(template.intent, template.text) for template in self.heldout}
        self.train = tuple(t for t in templates if (t.intent, t.text) not in kept_back)

    def only(self, templates: Iterable[Template]) -> Intents:
        """The grammar cut down to these templates, for hassil's recogniser."""
        texts = {(template.intent, template.text) for template in templates}
        intents = {
            name: {"data": [_cut(block, name, texts) for block in body["data"]]}
            for name, body in self._source["intents"].items()
        }
        return Intents.from_dict(self._source | {"intents": intents})

    def _templates(self) -> Iterator[Template]:
        for intent, body in self._source["intents"].items():
            for block in body["data"]:
                domains = _domains(block)
                for text in block["sentences"]:
                    if text in UNCLEAR or any(part in text for part in LEFT_OUT):
                        continue
                    if "{name}" in text and not domains:
                        continue
                    fixed = tuple(block.get("slots", {}).items())
                    filled = _gaps(text, self.parsed.expansion_rules)
                    slots = {ref.slot_name for ref in filled} | {key for key, _ in fixed}
                    yield Template(intent, text, fixed, domains, tuple(sorted(slots)))


def _gaps(text: str, rules: dict[str, Sentence]) -> Iterator[ListReference]:
    return Sequence(items=[parse_sentence(text).expression]).list_references(rules)


def _domains(block: dict[str, Any]) -> tuple[str, ...]:
    """The kinds of device a block of sentences may name, those of our home only."""
    wanted = block.get("requires_context", {}).get("domain", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    return tuple(domain for domain in wanted if domain in DEVICES)


def _hold_out(templates: tuple[Template, ...], rng: random.Random) -> tuple[Template, ...]:
    kinds: dict[tuple[str, ...], dict[str, list[Template]]] = defaultdict(lambda: defaultdict(list))
    for template in templates:
        kinds[template.kind][template.text].append(template)
    held: list[Template] = []
    for same in kinds.values():
        if len(same) >= PHRASINGS:
            count = max(1, round(len(same) * HELD_OUT_SHARE))
            for text in rng.sample(sorted(same), count):
                held += same[text]
    return tuple(held)


def _cut(block: dict[str, Any], intent: str, texts: set[tuple[str, str]]) -> dict[str, Any]:
    kept = [text for text in block["sentences"] if (intent, text) in texts]
    return block | {"sentences": kept}
