"""docs/ir.md lists every primitive; ``python -m tests.null.test_ir_table`` writes its table again."""
from __future__ import annotations

from pathlib import Path

from gemel.engine.ir.primitives import PRIMITIVES

PAGE = Path(__file__).parents[2] / "docs" / "ir.md"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"


def table() -> str:
    """One line per primitive."""
    lines = ["| primitive | kind | operands | attributes | meaning |", "|---|---|---|---|---|"]
    for r in PRIMITIVES:
        arity = "any" if r.arity < 0 else str(r.arity)
        doc = r.doc.replace("|", "\\|")
        lines.append(f"| `{r.name}` | {r.kind} | {arity} | {', '.join(r.attrs)} | {doc} |")
    return "\n".join(lines) + "\n"


def test_the_page_is_up_to_date():
    text = PAGE.read_text()
    assert text[text.index(START) + len(START):text.index(END)] == table()


if __name__ == "__main__":
    page = PAGE.read_text()
    PAGE.write_text(page[:page.index(START) + len(START)] + table() + page[page.index(END):])
