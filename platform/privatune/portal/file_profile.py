"""What a file's rows hold, as its page draws it: counts with bars, kinds in the person's language,
the versions without personal data, and what was masked in a row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from finetune import selectors
from finetune.models import Profile, Scrub
from finetune.profiling.personal import Found, Kind
from finetune.purposes import OF_ROWS, Purpose
from finetune.services.files.scrubbing import Change
from finetune.services.files.versions import Version, versions_of
from finetune.states import LIVE_LEASES
from privatune.portal.file_rows import with_rows
from privatune.portal.refusals import kept
from privatune.templatetags.figures import grouped
from tenants.models import StoredFile
from tenants.states import FileStatus

MOST_OTHERS = 200  # files to choose from
AROUND = 80  # characters that are shown around a mask

KINDS: dict[Kind, Any] = {
    Kind.EMAIL: _("e-mail address"),
    Kind.PHONE: _("phone number"),
    Kind.RESIDENT_ID: _("Chinese identity number"),
    Kind.BANK_CARD: _("bank card number"),
    Kind.PASSPORT: _("passport number"),
    Kind.IBAN: _("bank account (IBAN)"),
    Kind.IP_ADDRESS: _("IP address"),
    Kind.URL_CREDENTIALS: _("name and password in an address"),
    Kind.API_KEY: _("key of a service"),
    Kind.PASSWORD: _("password"),
    Kind.PRIVATE_KEY: _("private key"),
}
SCRIPTS: dict[str, Any] = {
    "han": _("Chinese"),
    "latin": _("Latin letters"),
    "kana": _("Japanese"),
    "hangul": _("Korean"),
    "cyrillic": _("Cyrillic letters"),
    "arabic": _("Arabic letters"),
    "mixed": _("mixed"),
    "none": _("no letters"),
}


@dataclass(frozen=True)
class Bar:
    """A line of a table that is a plot as well. `width`: in percent of the longest."""

    name: Any
    count: int
    width: float


def shown_profiles(file: StoredFile) -> list[dict[str, Any]]:
    """In the open scope; alone first, then beside others as they were asked for."""
    found = Profile.objects.filter(file=file).select_related("against")
    ordered = sorted(found, key=lambda each: (each.against_id is not None, each.created_at))
    return [_shown(each) for each in ordered]


def _shown(profile: Profile) -> dict[str, Any]:
    report = profile.report or {}
    lengths = [(f"≤ {grouped(each['up_to'])}", each["rows"]) for each in report.get("lengths", [])]
    scripts = [(SCRIPTS.get(name, name), rows) for name, rows in report.get("scripts", {}).items()]
    return {
        "profile": profile,
        "live": profile.state in LIVE_LEASES,
        "error": kept(profile.error),
        "report": report,
        "lengths": bars(lengths),
        "scripts": bars(sorted(scripts, key=lambda each: -each[1])),
        "personal": kinds_of(report.get("personal")),
    }


def bars(counts: Sequence[tuple[Any, int]]) -> list[Bar]:
    most = max((count for _name, count in counts), default=1)
    return [Bar(name, count, max(0.5, 100 * count / most)) for name, count in counts]


def kinds_of(told: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Of a report, by kind: rows and places."""
    return [
        {"kind": kind, "name": KINDS[Kind(kind)], **each} for kind, each in (told or {}).items()
    ]


def others(file: StoredFile) -> list[StoredFile]:
    """What a file can be profiled against: usable rows, and evaluations' questions."""
    found = with_rows(selectors.files().filter(purpose__in=(*OF_ROWS, Purpose.EVALS)))
    usable = found.filter(status=FileStatus.PROCESSED).exclude(id=file.id)
    return list(usable.order_by("-created_at")[:MOST_OTHERS])


def shown_versions(file: StoredFile) -> list[dict[str, Any]]:
    """The line of files that were made of one another, and what is being made of this one."""
    live = Scrub.objects.filter(file=file).exclude(state="succeeded").select_related("file")
    return [
        {
            "version": each,
            "is_scrub": isinstance(each, Scrub),
            "live": each.state in LIVE_LEASES,
            "error": kept(each.error),
            "kinds": kinds_of((each.report or {}).get("masked")),
            "changed": changed_by(each),
        }
        for each in [*versions_of(file), *live.order_by("created_at")]
    ]


def changed_by(version: Version) -> int | None:
    """Rows that it changed."""
    report = version.report
    if report is None:
        return None
    if isinstance(version, Scrub):
        return int(report["changed"])
    return sum(int(rows) for given, rows in report["rows_by_negatives"].items() if int(given))


@dataclass(frozen=True)
class Piece:
    text: str
    masked: bool = False


def before(change: Change) -> list[Piece]:
    """The text as it was, what was masked apart, and of the rest what stands around it."""
    return list(_pieces(change, lambda each: change.before[each.start : each.end]))


def after(change: Change) -> list[Piece]:
    return list(_pieces(change, lambda each: each.kind.mask))


def _pieces(change: Change, shown: Callable[[Found], str]) -> Iterator[Piece]:
    at, last = 0, len(change.masks) - 1
    for number, each in enumerate(change.masks):
        yield Piece(_short(change.before[at : each.start], begins=number == 0))
        yield Piece(shown(each), masked=True)
        at = each.end
        if number == last:
            yield Piece(_short(change.before[at:], ends=True))


def _short(text: str, *, begins: bool = False, ends: bool = False) -> str:
    """What stands near a mask: its end where it begins the text, its beginning where it ends it."""
    if begins:
        return text if len(text) <= AROUND else f"… {text[-AROUND:]}"
    if ends:
        return text if len(text) <= AROUND else f"{text[:AROUND]} …"
    return text if len(text) <= 2 * AROUND else f"{text[:AROUND]} … {text[-AROUND:]}"


def found_kinds(profiles: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Kinds that the file's profiles found, for a scrub to mask."""
    return next((each["personal"] for each in profiles if each["personal"]), [])
