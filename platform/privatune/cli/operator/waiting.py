"""`privatune waiting`: what work waits for, of every tenant."""

from dataclasses import asdict

from privatune.cli.lists import Columns, show_list
from privatune.cli.operator.session import DataFolder, services
from privatune.cli.output import AsJson, moment

COLUMNS: Columns = {
    "COUNT": "count",
    "WORK": "kind",
    "SINCE": lambda row: moment(row["since"]),
    "CODE": "code",
    "WAITS FOR": "reason",
}


def waiting(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Tell what work of all tenants waits for, how much of it and since when; or, without a code,
    with what it failed before it is tried again.

    Each has its code and the words that the tenant is told, in the tenant's language there. What
    waits for its turn alone is not listed.
    """
    with services(data):
        from finetune.work.held_up import held_up

        rows = [asdict(each) | {"since": each.since.isoformat()} for each in held_up()]
    show_list(rows, COLUMNS, as_json=as_json)
