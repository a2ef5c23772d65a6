"""What people read and take for a name: nothing in it may hide, turn the line round, or look blank.
Pure."""

from faults.unseen import unseen
from tenants.errors import Invalid


def readable(text: str, *, param: str) -> str:
    """The text without white space around it. Raises Invalid when nothing is left, and for a
    character that cannot be seen."""
    stripped = text.strip()
    hidden = unseen(stripped)
    if stripped and not hidden:
        return stripped
    what = f"holds {hidden}, which cannot be seen" if hidden else "is blank"
    raise Invalid(
        "unreadable_text",
        f"The text of `{param}` {what}.",
        fix="Write it in one line of visible characters.",
        param=param,
    )
