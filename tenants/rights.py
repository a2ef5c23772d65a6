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
    MERGE = _("merge"), _("may take the base's weights away, with what was trained in them")


# Of a licence that names none. The base itself is given only where somebody says so.
BY_DEFAULT = frozenset(Right) - {Right.MERGE}
