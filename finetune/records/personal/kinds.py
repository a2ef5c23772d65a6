"""What is looked for, and what stands in its place once it is masked."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    RESIDENT_ID = "resident_id"
    BANK_CARD = "bank_card"
    PASSPORT = "passport"
    IBAN = "iban"
    IP_ADDRESS = "ip_address"
    URL_CREDENTIALS = "url_credentials"
    API_KEY = "api_key"
    PASSWORD = "password"  # noqa: S105 - the name of a kind
    PRIVATE_KEY = "private_key"

    @property
    def mask(self) -> str:
        return f"[{self.name}]"


ALL = frozenset(Kind)
SECRETS = frozenset({Kind.URL_CREDENTIALS, Kind.API_KEY, Kind.PASSWORD, Kind.PRIVATE_KEY})


@dataclass(frozen=True, order=True)
class Found:
    """Characters `start` to `end` (not included) of a text."""

    start: int
    end: int
    kind: Kind
