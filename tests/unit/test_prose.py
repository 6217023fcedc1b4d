"""The documents keep out words that a reader had to read twice: CONTRIBUTING, section "Prose"."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "migrations", "sql", "tests")
# Results as a benchmark printed them.
RECORDED = {"sql.md", "write.md", "http.md"}
FOUND = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
DOCUMENTS = sorted(path for path in FOUND if "node_modules" not in path.parts)
# A word or a habit, and what to write in its place.
BANNED = {
    r"\b(?:any|every|no|some)body\b|\banyone\b|\bwhoever\b": "the role, client or process that is meant",
    r"\btells?\b|\btold\b": "prints, reports, shows",
    r"\b(?:stands?|stood)\b(?! for\b| still\b)": "is, contains",
    r"\bmend(?:s|ed|ing)?\b": "corrects, repairs",
    r"\bat work\b": "runs, is active",
    r"\bmeanwhile\b": "at the same time, until then",
    r"\bagain and again\b": "repeatedly",
    r"\bwhatever\b|\bhowever (?:few|long|many)\b": "any, independent of",
    r"\binto place\b": "creates, runs",
    r"\bon (?:its|their) way\b": "in flight, in the queue",
    r"\bholds? up\b|\bheld up\b": "blocks, delays",
    r"\bhalf done\b|\baffairs?\b|\brightly\b|, say\b": "a plain word",
}
# What is left to rewrite; a line goes when its document does not need it any more.
LEFT = {
    ("docs/health.md", "again and again"),
}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a document without its code, with their numbers."""
    is_code = False
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, re.sub(r"`[^`]*`", "``", line)


def test_no_document_has_a_word_that_readers_stumble_over() -> None:
    assert [
        f"{name}:{number} {found[0]!r}: write {instead}"
        for path in DOCUMENTS
        if path.name not in RECORDED
        for name in [str(path.relative_to(ROOT))]
        for number, line in prose(path)
        for banned, instead in BANNED.items()
        for found in re.finditer(banned, line, re.IGNORECASE)
        if (name, found[0].lower()) not in LEFT
    ] == []


def test_every_document_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "docs/README.md").read_text("utf-8")
    documents = [str(path.relative_to(ROOT / "docs")) for path in DOCUMENTS if ROOT / "docs" in path.parents]
    assert [name for name in documents if name != "README.md" and f"({name})" not in contents] == []
