"""What a licence can allow: the one table that services, admin, API, command line, portal and the
page of rights are made from. Pure."""

from enum import StrEnum


def _(words: str) -> str:
    """Marks words that whoever shows them translates."""
    return words


class Right(StrEnum):
    """`label` names it for operators; the value is its name everywhere else."""

    label: str

    def __new__(cls, value: str, label: str = "") -> "Right":
        made = str.__new__(cls, value)
        made._value_, made.label = value, label
        return made

    TRAIN = _("train"), _("may train")
    EXPORT = _("export"), _("may take weights away")
    SERVE = _("serve"), _("may ask models here")
