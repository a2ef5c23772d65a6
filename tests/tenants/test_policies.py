"""An independent lint of the row-level security policies, less the rules our design answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ANSWERED = {
    "SEC001": "tables without tenant_id (people, sessions, catalogue) are not a tenant's",
    "SEC003": "no role but app, operator and owner has a grant; an unset tenant sees nothing",
    "SEC005": "owner_access and operator_access are for one named role each",
    "SEC008": "as SEC005",
    "SEC028": "as SEC005",
    "SEC038": "as SEC005",
    "SEC014": "the look-ups before a tenant is known are these functions, and nothing else",
    "SEC035": "a slug and a key's random prefix are looked up before the tenant is known",
}


@pytest.mark.django_db
def test_the_policies_pass_an_independent_lint() -> None:
    excluded = [word for rule in ANSWERED for word in ("--exclude-rule", rule)]
    command = [str(Path(sys.executable).with_name("pgrls")), "lint", "--fail-on", "warning"]
    done = subprocess.run(
        [*command, *excluded],
        env=os.environ | {"DATABASE_URL": os.environ["DATABASE_OWNER_URL"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
