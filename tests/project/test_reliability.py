"""The pages of promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
PAGES = ["reliability.md", "security.md"]


@pytest.mark.parametrize("name", PAGES)
def test_every_promise_names_a_test_that_is_there(name: str) -> None:
    """Each test that a page names exists, and every row of its tables of promises names one."""
    page = (ROOT / "docs" / name).read_text()
    named = NAMED.findall(page)
    assert len(named) > 10
    for file, test in named:
        assert f"def {test}" in (ROOT / file).read_text(), f"{file}::{test}"
    tables = [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)]
    rows = [row for table in tables if "held by" in table[0] for row in table[2:]]
    assert len(rows) > 8
    assert [row for row in rows if not NAMED.search(row)] == []
