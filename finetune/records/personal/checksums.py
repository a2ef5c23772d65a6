"""Check digits and forms that tell a real number from one that only looks like it."""

import ipaddress
import re
from datetime import date

# GB 11643-1999: weights of the first 17 digits, and the last character by the sum modulo 11
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_LAST = "10X98765432"
_PROVINCES = re.compile("1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")
# Issuers by the first digits (ISO/IEC 7812), and how many digits their cards have
_ISSUERS = re.compile(
    r"62\d{14,17}|4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)"
    r"\d{12}|3[47]\d{13}|6(?:011|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
)
# Characters of an IBAN by country (ISO 13616's registry)
_IBANS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29
ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25
QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
""".split()  # noqa: SIM905 - a table


def is_resident_id(text: str) -> bool:
    """Of the People's Republic: province, a day of birth that there was, check character."""
    if not _PROVINCES.fullmatch(text[:2]):
        return False
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(text, _WEIGHTS, strict=False))
    return born.year >= 1880 and _LAST[total % 11] == text[17].upper()


def is_bank_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return bool(_ISSUERS.fullmatch(digits)) and _luhn(digits)


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    if f"{plain[:2]}{len(plain)}" not in _IBANS:
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def is_host(text: str) -> bool:
    """An address of somebody's machine: no mask, no placeholder, not the machine itself."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    if address.version == 4:
        return not text.startswith(("0.", "255.")) and not address.is_reserved
    return sum(bool(group) for group in text.split(":")) >= 3
