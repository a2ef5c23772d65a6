"""Calls that are written in tags, as a grammar: texts as they stand, everything else in JSON."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from faults import UserFault
from finetune.serving.arguments import CHOICES, Options, options, resolved
from finetune.serving.structured import formats, lengths
from finetune.serving.structured.forms import Callable, json_of, text
from finetune.serving.structured.logic.rewriting import Plain
from finetune.serving.structured.shapes import NOTES
from finetune.serving.tagged import Written

_ROOT = NOTES | {"type", "properties", "required", "additionalProperties", "$id", "strict"}
_DEFINITIONS = ("$defs", "definitions")
_NAME = re.compile(r"[^<>\s][^<>\n]*(?<!\s)")
_ANY_NAME = "/[A-Za-z_][A-Za-z0-9_]{0,63}/"
_ENDS = "</tool_call>"
# No text between other options begins like a number, a list, an object or, where values are
# listed, like true, false or null: it would be read as such
_APART, _FAR_APART = r"([^\s0-9\-\[{](?s:.*))?", r"([^\s0-9\-\[{tfn](?s:.*))?"
_LABEL = "[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_HEX = "[0-9a-f]"
_NATIVE = {
    "hostname": rf"{_LABEL}(\.{_LABEL}){{0,4}}",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "ipv6": f"({_HEX}{{1,4}}:){{7}}{_HEX}{{1,4}}",
    "uuid": f"{_HEX}{{8}}-({_HEX}{{4}}-){{3}}{_HEX}{{12}}",
    "uri": r"[a-z][a-z0-9+.-]{0,19}:(\/\/)?[A-Za-z0-9][A-Za-z0-9._~:@\/?&=+#-]*",
}


def rules(written: Written, tools: list[Callable]) -> list[str]:
    """What `tool` is. Raises UserFault `schema_unsupported` for a strict tool's parameters that
    cannot be kept to in tags; those of others are then any."""
    found = [f"tool: {' | '.join(f'tool_{number}' for number in range(len(tools)))}"]
    for number, tool in enumerate(tools):
        try:
            lines = _Tool(written, tool.parameters, tool.place, f"{number}").lines(tool.name)
        except UserFault:
            if tool.strict:
                raise
            lines = _Tool(written, {}, tool.place, f"{number}").lines(tool.name)
        found += lines
    return found


@dataclass
class _Tool:
    """The rules of one; `mark` keeps its names apart from other tools'."""

    written: Written
    root: dict[str, Any]
    place: str
    mark: str
    _lines: list[str] = field(default_factory=list, init=False)

    def lines(self, name: str) -> list[str]:
        parts = " ".join(self._arguments())
        begin = text(f"{self.written.before}{name}{self.written.named}")
        return [f"tool_{self.mark}: {begin} {parts} {text(self.written.after)}", *self._lines]

    def _arguments(self) -> Iterator[str]:
        schema = resolved(self.root, self.root) or {}
        for key in schema:
            if key not in _ROOT and key not in _DEFINITIONS:
                place = schema.at(key) if isinstance(schema, Plain) else f"{self.place}.{key}"
                raise _unsupported(place, f"`{key}` is not offered")
        properties, required = schema.get("properties") or {}, schema.get("required", [])
        for name in required:
            if name not in properties:
                raise _unsupported(f"{self.place}.required", f"`{name}` is no property")
        for number, (name, each) in enumerate(properties.items()):
            rule, place = f"argument_{self.mark}_{number}", f"{self.place}.properties.{name}"
            if not _NAME.fullmatch(name):
                raise _unsupported(place, "such a name is not offered")
            begin = text(f"{self.written.key}{name}{self.written.value}")
            self._lines.append(f"{rule}: {begin} {self._value(each, place, rule)}")
            yield rule if name in required else f"{rule}?"
        if not properties and (more := schema.get("additionalProperties", True)) is not False:
            rule = f"more_{self.mark}"
            value = self._value(more, f"{self.place}.additionalProperties", rule)
            begin = f"{text(self.written.key)} {_ANY_NAME} {text(self.written.value)}"
            self._lines.append(f"{rule}: {begin} {value}")
            yield f"({rule})*"

    def _value(self, schema: Any, place: str, rule: str) -> str:
        """A value and its end."""
        if schema in (True, None):
            schema = {}
        allowed, ways = options(schema, self.root), list[str]()
        for number, each in enumerate(allowed.others):
            if not _bare(each) or not allowed.texts:
                ways.append(f"json_{rule}_{number} {text(self.written.end)}")
                self._lines.append(f"json_{rule}_{number}: {self._json(each, place)}")
        for number, each in enumerate(allowed.texts):
            ways.append(f"text_{rule}_{number}")
            self._lines += self._text(ways[-1], each, allowed, place)
        if not ways:
            raise _unsupported(place, "nothing can be written for it")
        self._lines.append(f"value_{rule}: {' | '.join(ways)}")
        return f"value_{rule}"

    def _json(self, schema: dict[str, Any], place: str) -> str:
        if any(ref == "#" for ref in _refs(schema)):
            raise _unsupported(place, "`#` is not offered here")
        definitions = {key: self.root[key] for key in _DEFINITIONS if key in self.root}
        return json_of({**schema, **definitions})

    def _text(
        self, name: str, schema: dict[str, Any], allowed: Options, place: str
    ) -> Iterator[str]:
        """A terminal: the text and its end in one, as a lexer does not turn back."""
        closing, end, body = self.written.closing, self.written.end, name.upper()
        barred = "|".join(_regex(re.escape(each)) for each in (closing, _ENDS))
        bound = f"~/(?s:.*)({barred})(?s:.*)/"
        ways = _patterns(schema, place, (closing, _ENDS))
        if (apart := _apart(allowed)) is not None and "enum" not in schema:
            ways.append(apart)
        if not ways:
            yield f"{name}[lazy]: {body} {text(closing)}"
            yield f"{body}: /(?s:.*)/ & ~/(?s:.*){_regex(re.escape(_ENDS))}(?s:.*)/"
            return
        yield f"{name}: {body}_END\n{body}_END: {body} {text(end)}"
        yield f"{body}: {' & '.join(f'/{_regex(way)}/' for way in ways)} & {bound}"


def _apart(allowed: Options) -> str | None:
    """What keeps a text from being read as one of the other options."""
    others = [each for each in allowed.others if not _bare(each)]
    if not others:
        return None
    return _FAR_APART if any("enum" in each for each in others) else _APART


def _bare(schema: dict[str, Any]) -> bool:
    """Whether each text that is read as one of its values is one."""
    keys = schema.keys() - NOTES
    types = schema.get("type", [])
    return not keys or (keys == {"type"} and set(types) <= {"null", "boolean"})


def _patterns(schema: dict[str, Any], place: str, ends: tuple[str, ...]) -> list[str]:
    """All of which the text has to match, from its beginning to its end."""
    for key in CHOICES:
        if key in schema:
            raise _unsupported(f"{place}.{key}", f"`{key}` cannot stand by `type`")
    if "enum" in schema:
        if any(end in each for each in schema["enum"] for end in ends):
            raise _unsupported(f"{place}.enum", "a text may not have the end of a tag in it")
        return ["(" + "|".join(_escaped(each) for each in schema["enum"]) + ")"]
    found, form = list[str](), schema.get("format")
    if form is not None and form not in formats.ANY_TEXT:
        found.append(_NATIVE.get(form) or _whole(formats.PATTERNS[form], place))
    elif "pattern" in schema:
        pattern = formats.REWRITTEN.get(schema["pattern"], schema["pattern"])
        return [_whole(lengths.bounded({**schema, "pattern": pattern}) or pattern, place)]
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if low or high is not None:
        found.append(f"(?s:.{{{low},{'' if high is None else high}}})")
    return found


def _whole(pattern: str, place: str) -> str:
    """A pattern that is looked for anywhere, as one of the whole text."""
    begin, end = pattern.startswith("^"), re.search(r"(?<!\\)(\\\\)*\$$", pattern) is not None
    inner = pattern[begin : len(pattern) - end]
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", inner)
    if "^" in bare or "$" in bare or ((begin or end) and _parted(bare)):
        raise _unsupported(f"{place}.pattern", "`^` and `$` are offered around the whole pattern")
    return ("" if begin else "(?s:.*)") + f"({inner})" + ("" if end else "(?s:.*)")


def _parted(bare: str) -> bool:
    """Whether a `|` stands in no group."""
    depth = 0
    for letter in bare:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "|" and not depth:
            return True
    return False


def _escaped(words: str) -> str:
    return re.sub(r"[^\w]", lambda found: f"\\u{{{ord(found[0]):x}}}", words)


def _regex(pattern: str) -> str:
    """As it stands between slashes."""
    slashed = re.sub(r"(\\.)|/", lambda found: found[1] or r"\/", pattern, flags=re.DOTALL)
    return slashed.replace("\n", "\\n")


def _refs(schema: Any) -> Iterator[Any]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        for each in schema.values():
            yield from _refs(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _refs(each)


def _unsupported(place: str, what: str) -> UserFault:
    return UserFault(
        "schema_unsupported",
        f"`{place}`: {what} where calls are written in tags.",
        fix="See which schemas are offered in the reference, and write it with those.",
        param=place,
    )
