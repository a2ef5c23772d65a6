"""The page of rights says what the table says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_current() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "rights_table.py"))["page"]()
    page = ROOT / "docs" / "reference" / "rights.md"
    assert page.read_text(encoding="utf-8") == made, "run: python scripts/rights_table.py"
