"""Documents and the texts of code contain no words that readers had to read twice: CONTRIBUTING, section "Prose"."""

import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "migrations", "sql", "tests")
# Results as a benchmark printed them, and the list of banned words.
NOT_READ = {"sql.md", "write.md", "http.md", "test_prose.py"}
FOUND = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
DOCUMENTS = sorted(path for path in FOUND if "node_modules" not in path.parts)
MODULES = [path for folder in ("service", "migrations", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
# The schema repeats the comments of the other files.
STATEMENTS = sorted(path for path in (ROOT / "sql").rglob("*.sql") if path.name != "schema.sql")
PAGE = ROOT / "service/http/page"
SCRIPTS = sorted(path for kind in ("js", "css") for path in (PAGE / "static").glob(f"*.{kind}") if path.stem != "uPlot")
TEMPLATES = sorted(PAGE.glob("*.html"))
ALERTS = sorted((ROOT / "docs/monitoring").glob("*.yml"))
CONFIGURATION = [
    *(ROOT / name for name in ("Makefile", "Dockerfile", "docker-compose.yml", "pyproject.toml", ".ci/run")),
    *(ROOT / f".{name}" for name in ("env.example", "pre-commit-config.yaml", "sqlfluff", "squawk.toml")),
    *sorted((ROOT / ".github/workflows").glob("*.yml")),
]
# A word or a phrase, and its replacement.
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
    r"\banew\b": "again, recounts",
    r"\blets?\b[^.;:]*\bthrough\b": "matches",
    r"\bby (?:itself|themselves)\b": "automatically",
    r"\b(?:keys?|columns?) of choice\b|\bwithout need\b": "the keys that the request names, unnecessarily",
}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a document without its code, with their numbers."""
    is_code = False
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line


def comments_and_strings(path: Path) -> Iterator[tuple[int, str]]:
    """The comments of a module, its strings of several words, and the names of its tests, with their line numbers."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        is_text = token.type == tokenize.COMMENT or tokenize.tok_name[token.type] in ("STRING", "FSTRING_MIDDLE")
        if is_text and " " in token.string:
            yield from enumerate(token.string.splitlines(), token.start[0])
        elif token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")


def comments_and_literals(path: Path) -> Iterator[tuple[int, str]]:
    """The comments of a file of sql/ and its literals, with the numbers of their lines."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        yield from ((number, text) for text in re.findall(r"(?:^|\s)-- .*|'[^']*'", line))


def comments_and_texts(path: Path) -> Iterator[tuple[int, str]]:
    """The comments of a script or a style sheet and its strings of several words, with the numbers of their lines."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        found = re.findall(r"""//\s.*|/\*.*|"[^"]*"|`[^`]*`""", line)
        yield from ((number, text.strip("`")) for text in found if " " in text)


def all_lines(path: Path) -> Iterator[tuple[int, str]]:
    return enumerate(path.read_text("utf-8").splitlines(), 1)


@pytest.mark.parametrize(
    ("paths", "texts"),
    [
        (DOCUMENTS, prose),
        (MODULES, comments_and_strings),
        (STATEMENTS, comments_and_literals),
        (SCRIPTS, comments_and_texts),
        ([*TEMPLATES, *ALERTS, *CONFIGURATION], all_lines),
    ],
    ids=["documents", "modules", "statements", "scripts", "other files"],
)
def test_no_text_has_a_banned_word(paths: list[Path], texts: Callable[[Path], Iterator[tuple[int, str]]]) -> None:
    assert [
        f"{name}:{number} {found[0]!r}: write {instead}"
        for path in paths
        if path.name not in NOT_READ
        for name in [str(path.relative_to(ROOT))]
        for number, line in texts(path)
        for banned, instead in BANNED.items()
        for found in re.finditer(banned, re.sub(r"`[^`]*`", "``", line), re.IGNORECASE)
    ] == []


def test_every_document_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "docs/README.md").read_text("utf-8")
    documents = [str(path.relative_to(ROOT / "docs")) for path in DOCUMENTS if ROOT / "docs" in path.parents]
    assert [name for name in documents if name != "README.md" and f"({name})" not in contents] == []
