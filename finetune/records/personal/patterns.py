"""The forms of what is looked for, each with the test that a match has to pass.

`\\w` and `\\b` take Chinese characters for letters, so borders are written out: in Chinese a number
follows a word without a space. Every repetition has a bound, so that no text takes long.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from finetune.records.personal.checksums import is_bank_card, is_host, is_iban, is_resident_id
from finetune.records.personal.kinds import Kind

Test = Callable[["re.Match[str]"], bool]

_OPEN = r"(?<![0-9A-Za-z_.\-/#+])"
_SHUT = r"(?![0-9A-Za-z_\-/]|\.[0-9])"
_BEFORE = 24  # characters in front of a match that say what the number is


@dataclass(frozen=True)
class Pattern:
    """`group`: the part of a match that is meant. `needs`: what a text without cannot match."""

    kind: Kind
    form: "re.Pattern[str]"
    is_meant: Test = lambda match: True
    group: int = 0
    needs: str = ""


_OTHER_NUMBER = re.compile(
    r"(?:订单|单号|编号|流水|序列|型号|批次|版本|工号|合同|发票|运单|快递|货号|order|invoice|ticket|"
    r"tracking|serial|batch|sku|isbn|imei|part|model|build|version|timestamp|ref|case|uuid|hash|"
    r"commit|\bno\.|\bid)[^\n]{0,10}$",
    re.IGNORECASE,
)
_A_PHONE = re.compile(r"(?:电话|手机|座机|联系|致电|tel|phone|mobile|call|cell)[^\n]{0,10}$", re.I)
_VERSION = re.compile(
    r"(?:版本|固件|章|节|条|款|第|version|ver|build|release|firmware|sdk|section|chapter|clause|"
    r"driver|upgrade to|[A-Za-z]+/|\bv)[\s.:：]{0,3}$",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"(?:[x*•.#-]+|<.*|\$.*|\{.*|%.*|your.*|my.*|example.*|sample.*|dummy.*|test|pass(?:word|wd)?|"
    r"secret|changeme|none|null|true|false|undefined|redacted|\[.*)",
    re.IGNORECASE | re.DOTALL,
)
_FILES = frozenset("png jpg jpeg gif svg webp ico css js json html".split())  # noqa: SIM905


def _before(match: "re.Match[str]") -> str:
    return match.string[max(0, match.start() - _BEFORE) : match.start()]


def _is_mail(match: "re.Match[str]") -> bool:
    ending = match[0].rpartition(".")[2].lower()
    remote = match[0].startswith("git@") and match.string[match.end() : match.end() + 1] in (
        ":",
        "/",
    )
    return ending not in _FILES and not remote


def _is_phone(match: "re.Match[str]") -> bool:
    before = _before(match)
    return bool(_A_PHONE.search(before)) or not _OTHER_NUMBER.search(before)


def _is_abroad(match: "re.Match[str]") -> bool:
    return 8 <= sum(char.isdigit() for char in match[0]) <= 15


def _is_card(match: "re.Match[str]") -> bool:
    return is_bank_card(match[0]) and not _OTHER_NUMBER.search(_before(match))


def _is_address(match: "re.Match[str]") -> bool:
    return is_host(match[0]) and not _VERSION.search(_before(match))


def _is_password(match: "re.Match[str]") -> bool:
    """Letters and a digit: what is only words is said about passwords, and is none."""
    value = match[1]
    if _PLACEHOLDER.fullmatch(value) or re.search(r"[(\[{$]|[A-Za-z]\.[A-Za-z]", value):
        return False
    return bool(re.search(r"[0-9]", value) and re.search(r"[A-Za-z]|[^0-9A-Za-z]", value))


def _is_credentials(match: "re.Match[str]") -> bool:
    return not _PLACEHOLDER.fullmatch(match[1].partition(":")[2])


# In order: where two overlap, the first is meant.
PATTERNS = (
    Pattern(
        Kind.PRIVATE_KEY,
        re.compile(
            r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[^-]{0,20000}-----END [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----|"
            r"[A-Za-z0-9+/=\s\\]{0,20000})"
        ),
        needs="PRIVATE KEY",
    ),
    Pattern(
        Kind.URL_CREDENTIALS,
        re.compile(r"""[A-Za-z][A-Za-z0-9+.\-]{1,15}://([^\s/:@'"<>]{1,64}:[^\s/@'"<>]{1,128})@"""),
        _is_credentials,
        group=1,
        needs="://",
    ),
    Pattern(
        Kind.API_KEY,
        re.compile(
            r"(?<![A-Za-z0-9_\-])(?:"
            r"A(?:KIA|SIA)[0-9A-Z]{16}|"  # AWS
            r"LTAI[0-9A-Za-z]{12,26}|"  # Alibaba Cloud
            r"AKID[0-9A-Za-z]{32}|"  # Tencent Cloud
            r"AIza[0-9A-Za-z_\-]{35}|"  # Google
            r"gh[opsur]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{22,255}|glpat-[0-9A-Za-z_\-]{20,64}|"
            r"sk-(?:ant-|proj-|or-v1-)?[0-9A-Za-z_\-]{20,200}|[rs]k_live_[0-9A-Za-z]{16,128}|"
            r"hf_[0-9A-Za-z]{30,64}|npm_[0-9A-Za-z]{36}|pypi-[0-9A-Za-z_\-]{50,255}|"
            r"xox[abeoprs]-[0-9A-Za-z\-]{10,200}|SG\.[0-9A-Za-z_\-]{22}\.[0-9A-Za-z_\-]{43}|"
            r"eyJ[0-9A-Za-z_\-]{8,2000}\.eyJ[0-9A-Za-z_\-]{8,4000}\.[0-9A-Za-z_\-]{16,2000}"  # JWT
            r")(?![A-Za-z0-9_\-])"
        ),
        lambda match: any(char.isdigit() for char in match[0]),
    ),
    Pattern(
        Kind.PASSWORD,
        re.compile(
            r"(?:pass(?:word|wd|phrase)|\bpwd|密码|口令|secret(?:[_-]?key)?|api[_-]?key|"
            r"access[_-]?(?:key|token)|auth[_-]?token|client[_-]?secret)"
            r"""["']?\s{0,3}(?:[:=：]|是|为|\bis\b)\s{0,3}["']?([^\s"'，。,;；<>]{6,128})""",
            re.IGNORECASE,
        ),
        _is_password,
        group=1,
    ),
    Pattern(
        Kind.EMAIL,
        re.compile(
            r"(?<![A-Za-z0-9._%+\-])[A-Za-z0-9_%+\-][A-Za-z0-9._%+\-]{0,63}@"
            r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9_])"
        ),
        _is_mail,
        needs="@",
    ),
    Pattern(
        Kind.IBAN,
        re.compile(
            rf"{_OPEN}[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?{_SHUT}"
        ),
        lambda match: is_iban(match[0]),
        needs="0",
    ),
    Pattern(
        Kind.RESIDENT_ID,
        re.compile(rf"{_OPEN}[1-8][0-9]{{16}}[0-9Xx]{_SHUT}"),
        lambda match: is_resident_id(match[0]),
        needs="0",
    ),
    Pattern(
        Kind.BANK_CARD,
        re.compile(rf"{_OPEN}[2-6][0-9](?:[ -]?[0-9]){{11,17}}{_SHUT}"),
        _is_card,
        needs="0",
    ),
    Pattern(
        Kind.PASSPORT,
        re.compile(
            r"(?:passport|护照)[^\n0-9]{0,24}?(?<![0-9A-Za-z])([A-Z]{1,2}[0-9]{6,8}|[0-9]{9})"
            r"(?![0-9A-Za-z])",
            re.IGNORECASE,
        ),
        group=1,
        needs="0",
    ),
    Pattern(
        Kind.PHONE,
        re.compile(
            r"(?<![0-9A-Za-z_.\-/#])(?:(?:\+|00)?86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}" + _SHUT
        ),
        _is_phone,
        needs="0",
    ),
    Pattern(
        Kind.PHONE,
        re.compile(
            r"(?<![0-9A-Za-z_.\-/#])(?:(?:\+86[ -]?)?\(?0(?:10|2[0-9]|[3-9][0-9]{2})(?:\) ?|[- ])"
            rf"[2-8][0-9]{{2,3}}[ -]?[0-9]{{4}}){_SHUT}"
        ),
        _is_phone,
        needs="0",
    ),
    Pattern(
        Kind.PHONE,
        re.compile(
            r"(?<![0-9A-Za-z_.\-/#])(?:\+?1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])"
            rf"[2-9][0-9]{{2}}[ .-][0-9]{{4}}{_SHUT}"
        ),
        _is_phone,
        needs="0",
    ),
    Pattern(
        Kind.PHONE,
        re.compile(
            r"(?<![0-9A-Za-z_.\-/#)=])\+[1-9][0-9]{0,2}(?:[ .\-]?\(?[0-9]{1,5}\)?){2,6}" + _SHUT
        ),
        _is_abroad,
        needs="0",
    ),
    Pattern(
        Kind.IP_ADDRESS,
        re.compile(rf"{_OPEN}(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}(?![0-9A-Za-z_\-]|\.[0-9])"),
        _is_address,
        needs="0",
    ),
    Pattern(
        Kind.IP_ADDRESS,
        re.compile(
            r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![0-9A-Za-z:.])"
        ),
        lambda match: is_host(match[0]),
        needs=":",
    ),
)
