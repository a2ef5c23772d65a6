"""Texts of a known format as patterns, where llguidance's own reading of a format is too wide or
there is none. A pattern may allow less than its format, never more: what is written then is read by
everybody's parser (a leap second, a small `t` or the year 0 is not)."""

_YEAR = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_FOURTH = "(0[48]|[2468][048]|[13579][26])"
_DAY = (
    f"({_YEAR}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    f"|02-(0[1-9]|1[0-9]|2[0-8]))|([0-9]{{2}}{_FOURTH}|{_FOURTH}00)-02-29)"
)
_HOUR = "([01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_HOUR}:[0-5][0-9](\.[0-9]{{1,6}})?(Z|[+-]{_HOUR})"

_N = "[0-9]{1,6}"
_CLOCK = f"T({_N}H({_N}M({_N}S)?)?|{_N}M({_N}S)?|{_N}S)"
_DAYS = f"({_N}Y({_N}M({_N}D)?)?|{_N}M({_N}D)?|{_N}D)"

_ATOM = "[A-Za-z0-9_+'&%=~!#$*/?^{|}-]"
_LOCAL = (
    rf"({_ATOM}{{1,64}}|{_ATOM}{{1,30}}\.{_ATOM}{{1,33}}|{_ATOM}{{1,20}}(\.{_ATOM}{{1,20}}){{2}})"
)
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?"

_HEX = "[0-9a-f]"


def _uuid(version: int) -> str:
    return f"^{_HEX}{{8}}-{_HEX}{{4}}-{version}{_HEX}{{3}}-[89ab]{_HEX}{{3}}-{_HEX}{{12}}$"


def _base64(more: str) -> str:
    digit = f"[A-Za-z0-9{more}]"
    return f"^({digit}{{4}})*({digit}{{2}}==|{digit}{{3}}=)?$"


PATTERNS = {
    "date": f"^{_DAY}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DAY}T{_TIME}$",
    "duration": f"^P({_N}W|{_DAYS}({_CLOCK})?|{_CLOCK})$",
    "email": rf"^{_LOCAL}@({_LABEL}\.){{1,4}}[A-Za-z]{{2,24}}$",
    "base64": _base64("+/"),
    "base64url": _base64("_-"),
    **{f"uuid{version}": _uuid(version) for version in range(1, 9)},
}
# Patterns of programs that look around, and the same without: pydantic's of Decimal
REWRITTEN = {r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$"}
# They tell a program what to make of a text, and any text is one.
ANY_TEXT = frozenset(("path", "file-path", "directory-path", "password", "binary"))
NATIVE = frozenset(("hostname", "ipv4", "ipv6", "uuid", "uri"))
LIMITED = frozenset(("uri",))  # whose `maxLength` is kept to: the two are known and cheap together
FORMATS = NATIVE | ANY_TEXT | PATTERNS.keys()

# Characters at least and at most, where both are known
SPANS: dict[str, tuple[int, int | None]] = {
    "date": (10, 10),
    "time": (9, 21),
    "date-time": (20, 32),
    "email": (6, 253),
    "ipv4": (7, 15),
    "ipv6": (2, 45),
    "uuid": (36, 36),
    "uri": (1, None),
    "hostname": (1, 253),
    "duration": (3, 45),
}
