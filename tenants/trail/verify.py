"""Is an exported audit trail whole, unchanged, and the one that was exported before? Pure, offline.

An export is JSON lines: `export` (whose, and the signer's public key), `entry`s, `head`s, `end`.
The chain shows editing, deleting and reordering; the signed heads show a chain that was computed
anew; an earlier export, or a head that was kept, shows what was cut off or rewritten since, even by
somebody who holds the signing key.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tenants.trail.chain import COVERED, link_digest
from tenants.trail.heads import BadKey, fingerprint, head_fits
from tenants.trail.strict import BadJson, read_json

FORMAT = "privatune-audit"
MOST_PROBLEMS = 20

Trust = Literal["key", "fingerprint", "since", "embedded"]


@dataclass(frozen=True)
class Problem:
    """`code`: not_an_export, cut_short, wrong_tenant, edited, reordered, missing, older_rule,
    truncated, rewritten, bad_signature, wrong_signer, unsigned."""

    code: str
    message: str
    seq: int | None = None


@dataclass
class Report:
    """`signed_to`: the last entry that a fitting head covers; what follows is only chained."""

    trust: Trust
    tenant: str | None = None
    signer: str | None = None
    entries: int = 0
    heads: int = 0
    signed_to: int = 0
    last_digest: str = ""
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def add(self, code: str, message: str, seq: int | None = None) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(code, message, seq))

    def as_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def verify_export(
    lines: Iterable[str],
    *,
    public_key: str | None = None,
    trusted_fingerprint: str | None = None,
    since: Iterable[str] | None = None,
) -> Report:
    """Checks the export in one pass; what is wrong is in the report.

    `public_key` (PEM) or `trusted_fingerprint` say whose signature is expected; without them the
    key of `since`, an earlier export or kept heads, or else the export's own, which proves
    wholeness and not origin. Raises ValueError: BadKey when the given key is none, or for `since`.
    """
    earlier = _Earlier.read(since) if since is not None else None
    wanted, trust = trusted_fingerprint, "fingerprint" if trusted_fingerprint else "embedded"
    if public_key is not None:
        wanted, trust = fingerprint(public_key), "key"
    elif wanted is None and earlier is not None and earlier.signer is not None:
        wanted, trust = earlier.signer, "since"
    report = Report(trust=trust)  # type: ignore[arg-type]
    _Check(report, wanted, earlier).run(_records(lines, report))
    return report


def _records(lines: Iterable[str], report: Report | None) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            record = read_json(line)
            if not isinstance(record, dict) or "type" not in record:
                raise BadJson("it says no type")
        except BadJson as error:
            if report is None:
                raise BadJson(f"line {number} of the earlier export: {error}") from error
            report.add("not_an_export", f"line {number} is no record of an export: {error}")
            return
        yield record


@dataclass
class _Earlier:
    """What a customer kept: digests by number, and who signed."""

    tenant: str | None = None
    signer: str | None = None
    digests: dict[int, str] = field(default_factory=dict)

    @classmethod
    def read(cls, lines: Iterable[str]) -> "_Earlier":
        """Raises ValueError when a line is unreadable or nothing in it could be compared."""
        kept = cls()
        for record in _records(lines, None):
            kept.tenant = record.get("tenant", kept.tenant)
            if record["type"] == "head":
                kept.signer = record.get("signer")
            if record["type"] in ("entry", "head") and isinstance(record.get("seq"), int):
                kept.digests[record["seq"]] = str(record.get("digest"))
        if not kept.digests:
            raise ValueError("the earlier export holds neither an entry nor a head")
        return kept


class _Check:
    def __init__(self, report: Report, wanted: str | None, earlier: _Earlier | None) -> None:
        self.report = report
        self.wanted = wanted
        self.earlier = earlier
        self.public: str | None = None
        self.digests: dict[int, str] = {}
        self.version = 1
        self.ended = False

    def run(self, records: Iterator[dict[str, Any]]) -> None:
        steps = {"export": self._start, "entry": self._entry, "head": self._head, "end": self._end}
        for record in records:
            if self.ended or (self.report.tenant is None and record["type"] != "export"):
                self.report.add("not_an_export", "its records are not in an export's order")
                return
            try:
                steps[record["type"]](record)
            except (KeyError, TypeError) as error:
                self.report.add("not_an_export", f"a record lacks or misspells {error}")
                return
        if not self.ended:
            self.report.add("cut_short", "the file has no end record: the export is not complete")
        self._compare_with_earlier()
        if not self.report.signed_to:
            self.report.add("unsigned", "no fitting signed head covers any entry")

    def _start(self, record: Mapping[str, Any]) -> None:
        if record.get("format") != FORMAT or self.report.tenant is not None:
            self.report.add("not_an_export", "it does not begin as an export does, once")
        self.report.tenant, self.public = str(record["tenant"]), str(record["public_key_pem"])
        try:
            self.report.signer = fingerprint(self.public)
        except BadKey as error:
            self.report.add("bad_signature", str(error))
            self.public = None
        if self.wanted is not None and self.report.signer != self.wanted:
            self.report.add(
                "wrong_signer", f"signed by {self.report.signer}, not by the expected {self.wanted}"
            )

    def _entry(self, entry: Mapping[str, Any]) -> None:
        report, seq = self.report, entry["seq"]
        if entry["tenant"] != report.tenant:
            report.add("wrong_tenant", f"entry {seq} is another tenant's", seq)
        if seq != report.entries + 1:
            code = "missing" if seq > report.entries + 1 else "reordered"
            report.add(code, f"entry {report.entries + 1} is not where it belongs", seq)
        elif entry["previous"] != report.last_digest:
            report.add("edited", f"entry {seq} does not continue the one before it", seq)
        if entry["version"] not in COVERED or entry["version"] < self.version:
            report.add("older_rule", f"entry {seq} is written by a rule that cannot be its", seq)
        elif link_digest(entry) != entry["digest"]:
            report.add("edited", f"entry {seq} was changed after it was written", seq)
        self.version = max(self.version, entry["version"])
        report.entries, report.last_digest = seq, entry["digest"]
        self.digests[seq] = entry["digest"]

    def _head(self, head: Mapping[str, Any]) -> None:
        report, seq = self.report, head["seq"]
        report.heads += 1
        if head["tenant"] != report.tenant:
            return report.add("wrong_tenant", f"the head at {seq} is another tenant's", seq)
        if self.public is None or not head_fits(head, self.public):
            return report.add("bad_signature", f"the signature of the head at {seq} is wrong", seq)
        if head["signer"] != report.signer:
            message = f"the head at {seq} names {head['signer']!a}, but {report.signer} signed it"
            return report.add("wrong_signer", message, seq)
        if seq > report.entries:
            message = f"a signed head stands at entry {seq}, the last one here is {report.entries}"
            return report.add("truncated", message, seq)
        if self.digests.get(seq) != head["digest"]:
            message = f"entry {seq} is not the one that was signed on {head['at']}"
            return report.add("rewritten", message, seq)
        report.signed_to = max(report.signed_to, seq)
        return None

    def _end(self, record: Mapping[str, Any]) -> None:
        self.ended = True
        told = (record["entries"], record["heads"], record["last_digest"])
        if told != (len(self.digests), self.report.heads, self.report.last_digest):
            self.report.add("cut_short", "the end record counts other entries or heads")

    def _compare_with_earlier(self) -> None:
        if self.earlier is None:
            return
        if self.earlier.tenant not in (None, self.report.tenant):
            return self.report.add("wrong_tenant", "the earlier export is another tenant's")
        for seq, digest in sorted(self.earlier.digests.items()):
            if seq not in self.digests:
                message = f"entry {seq} was exported before and is gone"
                return self.report.add("truncated", message, seq)
            if self.digests[seq] != digest:
                message = f"entry {seq} is not the one that was exported before"
                return self.report.add("rewritten", message, seq)
        return None
