"""One profile of a file's rows, or one scrub of them: from the rows to the report."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from faults.nesting import NO_JSON, loads
from finetune.profiling.personal import Found, Kind, found_in, masked_row
from finetune.profiling.repeats import Repeat, Texts, across, within
from finetune.profiling.scripts import script_of
from finetune.profiling.spec import HeldOut, Places, ProfileReport, ProfileSpec, ScrubReport
from finetune.profiling.texts import question_of, whole_of
from finetune.records.check.tokens import TokenCounts

REPORT, FINDINGS, TAGS, SCRUBBED = "report.json", "findings.jsonl", "tags.json", "scrubbed.jsonl"

MOST_TAGS = 500  # that are kept, those of most rows first

Tell = Callable[[int, int], None]  # bytes read, rows taken
Row = dict[str, Any]


def run(spec: ProfileSpec, out_dir: Path, tell: Tell) -> None:
    """Leaves report.json and findings.jsonl in out_dir; of a profile tags.json too, of a scrub
    scrubbed.jsonl. Findings name rows and places and quote nothing."""
    if spec.kinds is None:
        report: Any = _Profile(spec, out_dir, tell).report()
    else:
        report = scrub(spec, out_dir, tell)
    (out_dir / REPORT).write_text(report.model_dump_json(indent=2), encoding="utf-8")


class Lines:
    """Rows of a file, in order and again by their place from 0."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("rb")
        self._starts = array("Q")

    def rows(self) -> Iterator[Row]:
        self._file.seek(0)
        at = 0
        for line in self._file:
            if line.strip():
                self._starts.append(at)
                yield _row(line)
            at += len(line)

    @property
    def read(self) -> int:
        return self._starts[-1] if self._starts else 0

    def __getitem__(self, place: int) -> Row:
        self._file.seek(self._starts[place])
        return _row(self._file.readline())


def _row(line: bytes) -> Row:
    """An evaluation's file was never checked: what is no object asks nothing but itself."""
    text = line.decode("utf-8-sig", errors="replace")
    try:
        row = loads(text)
    except NO_JSON:
        row = text
    return row if isinstance(row, dict) else {"text": str(row)}


class Listing:
    """Findings as they come, the first so many of them kept; all are counted."""

    def __init__(self, path: Path, most: int) -> None:
        self._file = path.open("wb")
        self._most = most
        self.count = 0

    def add(self, **finding: Any) -> None:
        self.count += 1
        if self.count <= self._most:
            self._file.write(orjson.dumps(finding) + b"\n")

    @property
    def listed(self) -> int:
        return min(self.count, self._most)

    def close(self) -> None:
        self._file.close()


class _Profile:
    def __init__(self, spec: ProfileSpec, out_dir: Path, tell: Tell) -> None:
        self._spec, self._tell = spec, tell
        self._out_dir = out_dir
        self._lines = Lines(spec.rows)
        self._listing = Listing(out_dir / FINDINGS, spec.listed)
        self._wholes = Texts(lambda place: whole_of(self._lines[place]))
        self._questions = Texts(lambda place: question_of(self._lines[place]))
        self._lengths = TokenCounts()
        self._scripts: Counter[str] = Counter()
        self._places: Counter[Kind] = Counter()
        self._rows_with: Counter[Kind] = Counter()
        self._tags: Counter[str] = Counter()
        self._tagged = 0

    def report(self) -> ProfileReport:
        for number, row in enumerate(self._lines.rows(), 1):
            self._take(number, row)
            self._tell(self._lines.read, number)
        equal, near = self._repeats()
        held_out = self._held_out()
        self._listing.close()
        (self._out_dir / TAGS).write_bytes(orjson.dumps(dict(self._tags.most_common(MOST_TAGS))))
        return ProfileReport(
            rows=len(self._wholes),
            compared=self._wholes.compared,
            equal=equal,
            near=near,
            held_out=held_out,
            lengths=self._lengths.histogram(),
            length_percentiles=self._lengths.percentiles(),
            scripts=dict(sorted(self._scripts.items())),
            personal=_places(self._places, self._rows_with),
            tagged=self._tagged,
            findings=self._listing.count,
            listed=self._listing.listed,
        )

    def _take(self, number: int, row: Row) -> None:
        whole = whole_of(row)
        self._wholes.add(whole)
        if self._spec.against is not None:
            self._questions.add(question_of(row))
        self._lengths.lengths[len(whole)] += 1
        self._scripts[script_of(whole)] += 1
        tags = row.get("tags") or ()
        self._tags.update(tags)
        self._tagged += bool(tags)
        kinds = set()
        for place, each in found_in(row):
            kinds.add(each.kind)
            self._places[each.kind] += 1
            self._listing.add(
                row=number, finding=each.kind, field=place, start=each.start, end=each.end
            )
        self._rows_with.update(kinds)

    def _repeats(self) -> tuple[int, int]:
        found = Counter(
            self._list(each, "repeat" if each.equal else "near_repeat")
            for each in within(self._wholes)
        )
        return found["repeat"], found["near_repeat"]

    def _held_out(self) -> HeldOut | None:
        if self._spec.against is None:
            return None
        lines = Lines(self._spec.against)
        others = Texts(lambda place: question_of(lines[place]))
        for row in lines.rows():
            others.add(question_of(row))
        theirs = Counter(each.equal for each in across(others, self._questions))
        here = 0
        for each in across(self._questions, others):
            self._list(each, "held_out" if each.equal else "near_held_out")
            here += 1
        return HeldOut(rows=len(others), equal=theirs[True], near=theirs[False], rows_here=here)

    def _list(self, each: Repeat, finding: str) -> str:
        self._listing.add(
            row=each.text + 1,
            finding=finding,
            of=each.of + 1,
            similarity=round(each.similarity, 3),
        )
        return finding


def scrub(spec: ProfileSpec, out_dir: Path, tell: Tell) -> ScrubReport:
    """All rows in their order, with what was found of the kinds under its mask."""
    kinds = frozenset(spec.kinds or ())
    lines, listing = Lines(spec.rows), Listing(out_dir / FINDINGS, spec.listed)
    places: Counter[Kind] = Counter()
    rows_with: Counter[Kind] = Counter()
    rows = changed = size = 0
    digest = hashlib.sha256()
    groups: dict[str, int] = {}
    with (out_dir / SCRUBBED).open("wb") as written:
        for rows, row in enumerate(lines.rows(), 1):
            found: dict[str, list[Found]] = {}
            for place, each in found_in(row, kinds):
                found.setdefault(place, []).append(each)
            made = masked_row(row, found)
            told = _numbered(row, made, found, groups)
            line = orjson.dumps(as_brought(made)) + b"\n"
            digest.update(line)
            size += written.write(line)
            if found:
                changed += 1
                hits = [each.kind for some in found.values() for each in some]
                places.update(hits)
                rows_with.update(set(hits))
                listing.add(row=rows, masked=_told(found), **told)
            tell(lines.read, rows)
    listing.close()
    return ScrubReport(
        rows=rows,
        changed=changed,
        masked=_places(places, rows_with),
        rows_sha256=digest.hexdigest(),
        rows_bytes=size,
    )


def _numbered(
    row: Row, made: Row, found: dict[str, list[Found]], groups: dict[str, int]
) -> dict[str, str]:
    """Groups under equal masks stay apart: each has its number behind the mask."""
    for place, of, into in (
        ("group", row, made),
        ("item.group", row.get("item"), made.get("item")),
    ):
        if place in found and of is not None and into is not None:
            number = groups.setdefault(of["group"], len(groups) + 1)
            into["group"] = f"{into['group']} {number}"
            return {"group": into["group"]}
    return {}


def as_brought(row: Row) -> Row:
    """A canonical row in the fields of a file: of prompts, and of answers that are judged in
    messages, they differ."""
    if isinstance(row.get("item"), dict):
        return {**{name: row[name] for name in row if name != "item"}, **row["item"]}
    if isinstance(row.get("completion"), list):
        return {"prompt" if name == "messages" else name: row[name] for name in row}
    if not (isinstance(row.get("chosen"), list) and "messages" in row):
        return row
    prompt = row["messages"]
    rest = {name: row[name] for name in row if name not in ("messages", "chosen", "rejected")}
    sides = {side: row[side] for side in ("chosen", "rejected")}
    if all(each["role"] in ("assistant", "tool") for side in sides.values() for each in side):
        return {"prompt": prompt, **sides, **rest}
    return {**{side: [*prompt, *said] for side, said in sides.items()}, **rest}


def _told(found: dict[str, list[Found]]) -> dict[str, list[tuple[int, int, str]]]:
    return {
        place: [(each.start, each.end, each.kind.value) for each in some]
        for place, some in found.items()
    }


def _places(places: Counter[Kind], rows: Counter[Kind]) -> dict[Kind, Places]:
    return {kind: Places(rows=rows[kind], places=places[kind]) for kind in Kind if places[kind]}
