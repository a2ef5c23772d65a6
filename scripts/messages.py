"""Translations: `compile` the catalogues, or `check` that each is complete and current.

Compiling uses Babel, so that running needs no gettext; checking extracts with Django's
makemessages, which does (Debian's package gettext).
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "platform" / "privatune" / "locale"
# Names of the operator's admin stand with the models.
ELSEWHERE = ("tenants", "finetune")
# English is the source language; its catalogue would repeat every key.
LANGUAGES = ("zh_Hans",)


def catalogue(path: Path) -> Catalog:
    """Of the language that its folder names: without one, no plural forms are written."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.parent.name)


def compile_all() -> int:
    for source in sorted(LOCALE.glob("*/LC_MESSAGES/*.po")):
        with source.with_suffix(".mo").open("wb") as file:
            write_mo(file, catalogue(source))
    return 0


def extract(into: Path) -> None:
    """Runs makemessages over a copy of the sources, so that the tree stays as it is."""
    copy = into / "privatune"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(LOCALE.parent, copy, ignore=ignore)
    for package in ELSEWHERE:
        shutil.copytree(ROOT / package, copy / package, ignore=ignore)
    command = [sys.executable, "-m", "django", "makemessages", "--no-obsolete", "--no-location"]
    for language in LANGUAGES:
        command += ["-l", language]
    # No project on the path: makemessages needs no settings, only files.
    environment = {"PATH": "/usr/bin:/bin"}
    subprocess.run(command, cwd=copy, env=environment, check=True, stdout=subprocess.DEVNULL)


def check() -> int:
    if shutil.which("xgettext") is None:
        print("gettext is missing: sudo apt-get install -y gettext", file=sys.stderr)
        return 1
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        extract(Path(folder))
        for language in LANGUAGES:
            ours = catalogue(LOCALE / language / "LC_MESSAGES" / "django.po")
            fresh = catalogue(
                Path(folder) / "privatune/locale" / language / "LC_MESSAGES" / "django.po"
            )
            for message in fresh:
                if not message.id:
                    continue
                known = ours.get(message.id, message.context)
                translated = known is not None and known.string and not known.fuzzy
                if not translated or not all(_plural_forms(known.string)):
                    faults += 1
                    print(f"{language}: not translated: {message.id!r}", file=sys.stderr)
    if faults:
        print(f"{faults} messages lack a translation.", file=sys.stderr)
    return 1 if faults else 0


def _plural_forms(string: object) -> tuple[str, ...]:
    return string if isinstance(string, tuple) else (str(string),)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in {"compile", "check"}:
        raise SystemExit(__doc__)
    raise SystemExit(compile_all() if sys.argv[1] == "compile" else check())
