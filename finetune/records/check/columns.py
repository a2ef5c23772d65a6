"""What a file calls its fields: read under the names that the formats know.

Capitals and spaces in a table's header are forgiven. Names that are only similar are never guessed
at: a mapping of columns is proposed, and whoever owns the file gives it.
"""

import json
import re
from collections.abc import Iterable, Mapping

from faults import UserFault
from faults.unseen import unseen
from finetune.records.printing import printable

Columns = Mapping[str, str]
"""Field of a format -> what the file calls it."""

FIELDS = (
    *("system", "history", "instruction", "input", "prompt", "completion", "output"),
    *("messages", "conversations", "tools", "text", "chosen", "rejected", "margin"),
    "label",
    *("query", "positive", "negative", "sentence1", "sentence2", "score"),
)
SPLITTERS = (",", ";", "\t")
LONGEST_NAME = 200
_BETWEEN = " \t\r\n,\uff0c"
_BARE = re.compile(r"[^,\uff0c]*")
_PAIR = re.compile(
    r"""(?P<field>[^=\uff1d,\uff0c"]*?)\s*[=\uff1d]\s*
        (?: (?P<quoted>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")\s*(?=[,\uff0c]|$)
          | (?P<bare>[^,\uff0c]*) )""",
    re.VERBOSE,
)
_HALF_WIDTH = str.maketrans("\uff0c\uff1d", ",=")

# Names that people give to what Alpaca's rows call so, the surest first
_QUESTION = (
    *("instruction", "question", "query", "prompt", "user", "request", "问题", "提问", "指令"),
    *("用户", "input", "输入", "context"),
)
_ANSWER = (
    *("output", "answer", "response", "completion", "reply", "assistant", "target", "回答"),
    *("答案", "回复", "输出", "答复"),
)
_EXTRA = ("input", "context", "background", "passage", "输入", "上下文", "背景", "材料")
_TEXT = ("text", "content", "document", "body", "context", "文本", "内容", "正文")
_EXACT = (
    *(("messages",), ("conversations",), ("prompt", "completion"), ("prompt", "output")),
    *(("instruction", "output"), ("text",)),
)


def check_columns(columns: Columns) -> None:
    """Raises UserFault `invalid_columns` for a mapping that cannot be one, and `unreadable_text`
    for a column's name that does not show all that it holds."""
    unknown = sorted(set(columns) - set(FIELDS))
    names = list(columns.values())
    if unknown:
        what = f"{printable(unknown[0])!r} is not a field of a format."
    elif not all(name.strip() and len(name) <= LONGEST_NAME for name in names):
        what = f"A column's name has 1 to {LONGEST_NAME} characters."
    elif len(set(names)) < len(names):
        what = "One column is given to two fields."
    else:
        return _require_seen(names)
    known = ", ".join(FIELDS)
    raise UserFault(
        "invalid_columns",
        what,
        fix=f"Give each field its column, instruction=question for instance. Fields: {known}.",
        param="columns",
    )


def _require_seen(names: Iterable[str]) -> None:
    if hidden := next(filter(None, map(unseen, names)), None):
        raise UserFault(
            "unreadable_text",
            f"A column's name holds {hidden}, which cannot be seen.",
            fix="Write it in one line of visible characters; in the file, too.",
            param="columns",
        )


def parse_columns(written: str) -> dict[str, str]:
    """`instruction=question, output="answer, short"` as a mapping; comma and equals sign may be
    full-width, as Chinese keyboards give them, and a name in quotes, as JSON has them, is read as
    it stands. Raises what `check_columns` raises."""
    columns: dict[str, str] = {}
    rest = written.lstrip(_BETWEEN)
    while rest:
        pair = _PAIR.match(rest)
        if pair is None or pair["field"] in columns:
            raise UserFault(
                "invalid_columns",
                f"{printable(_BARE.match(rest)[0].strip())!r} is not a field and its column.",  # type: ignore[index]
                fix='Write each field once, as in: instruction=question, output="answer, short"',
                param="columns",
            )
        quoted, bare = pair["quoted"], pair["bare"]
        columns[pair["field"]] = (
            bare.translate(_HALF_WIDTH).strip() if quoted is None else json.loads(quoted)
        )
        rest = rest[pair.end() :].lstrip(_BETWEEN)
    check_columns(columns)
    return columns


def as_written(columns: Columns) -> str:
    """As `parse_columns` reads it, in one order whatever the mapping went through."""
    return ", ".join(f"{field}={_quoted(columns[field])}" for field in FIELDS if field in columns)


def _quoted(name: str) -> str:
    if re.search(r"[,=]", name.translate(_HALF_WIDTH)) or name.startswith('"'):
        return json.dumps(name, ensure_ascii=False)
    return name


def field_of(name: str, columns: Columns) -> str:
    """The field as which the mapping reads what the file calls `name`; where it reads something
    else as a field of that name, a name that no format knows, so that this is told."""
    for field, given in columns.items():
        if given == name:
            return field
    return f"{name} (replaced)" if name in columns else name


def propose(names: Iterable[str], given: Columns | None = None) -> dict[str, str]:
    """The mapping with which fields of such names could be read; empty: none that is likely.

    With a mapping `given`, by which the names were read already, it is that one with what it lacks,
    as whoever takes a proposal gives it in the place of the other.
    """
    given = given or {}
    found = _guess(names)
    if not found or given.keys() & set(found.values()):  # a column that has its field already
        return {}
    columns = {**given, **found}
    return columns if all(map(_may_be_given, columns.values())) else {}


def _guess(names: Iterable[str]) -> dict[str, str]:
    plain = {_plain(name): name for name in reversed(list(names))}
    for fields in _EXACT:
        if plain.keys() >= set(fields):
            return _without_same({field: plain[field] for field in fields})
    answer = next((plain.pop(name) for name in _ANSWER if name in plain), None)
    if answer is None:
        text = [plain[name] for name in _TEXT if name in plain]
        return {"text": text[0]} if len(plain) == 1 and text else {}
    question = next((plain.pop(name) for name in _QUESTION if name in plain), None)
    if question is None:
        return {}
    found = {"instruction": question, "output": answer}
    if extra := next((plain[name] for name in _EXTRA if name in plain), None):
        found["input"] = extra
    return _without_same(found)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _without_same(columns: dict[str, str]) -> dict[str, str]:
    return {field: name for field, name in columns.items() if field != name.strip()}


def _may_be_given(name: str) -> bool:
    """Whether `check_columns` takes the name."""
    return len(name) <= LONGEST_NAME and not unseen(name)


def spelt(name: str) -> str:
    """A table's own name for a column, or the field's that it differs from by capitals alone."""
    lower = name.lower()
    return lower if lower in FIELDS else name


def splitter_of(header: str) -> str:
    """The separator that cuts most known names out of the header (Excel writes ; in Europe)."""

    def known(splitter: str) -> tuple[int, int]:
        names = [name.strip(' "') for name in header.strip().split(splitter)]
        return sum(_means_something(name) for name in names), len(names)

    return max(SPLITTERS, key=known)


def looks_like_header(line: str) -> bool:
    """Of a file whose name does not tell: names of fields and nothing else."""
    if line.lower().startswith("sep="):
        return True
    names = [name.strip(' "') for name in line.strip().split(splitter_of(line))]
    fields = sum(spelt(name) in FIELDS for name in names)
    meant = [name for name in names if name]
    return fields > 1 or (len(meant) > 1 and all(map(_means_something, meant)))


def _means_something(name: str) -> bool:
    return _plain(name) in _KNOWN


_KNOWN = {*FIELDS, *_QUESTION, *_ANSWER, *_EXTRA, *_TEXT}
