"""The commands in the documentation: Markdown files in, every command with its file and line out.

A command stands in a block (fenced, or indented by four spaces) or between backticks in the text. The one thing to
know: in a block of `sh` every line counts, so that no command escapes by being of a kind that nobody thought of.
"""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAGES = (PROJECT / "README.md", PROJECT / "README.zh.md", *sorted((PROJECT / "docs").glob("*.md")))
PROGRAMS = ("make", "behavior", "python", "airflow", "docker", "curl", "mlflow")
"""What is looked for between backticks, and in blocks of no language."""
SHELLS = ("sh", "bash")
ELLIPSIS = "…"
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=")
OPTIONAL = re.compile(r"\[(--[^\]]+)\]")
"""`[--as-of DATE]`: what may be left out is checked as if it stood there."""
CONTROL = frozenset({"|", "||", "&&", ";", ">", ">>", "<", "2>&1"})


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command as it stands in a page."""

    page: str
    line: int
    words: tuple[str, ...]
    """Without comment, prompt and variables set before it; `behavior` and `python` without the folder before them."""
    variables: tuple[str, ...] = ()
    """Set before it: `NAME=value`."""

    @property
    def program(self) -> str:
        return self.words[0]

    @property
    def is_cut(self) -> bool:
        """Whether something is left out, with an ellipsis."""
        return any(ELLIPSIS in word for word in self.words)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {' '.join(self.words)}"


def commands_in(page: Path) -> list[Command]:
    """Return every command of a page, in order."""
    return list(_read(page.read_text(encoding="utf-8"), page.relative_to(PROJECT).as_posix()))


def yaml_in(page: Path) -> list[str]:
    """Return every block of settings of a page: fenced as yaml, or indented, beginning with a name and a colon."""
    text = page.read_text(encoding="utf-8")
    indented = re.findall(r"(?:^|\n)((?:    [^\n]*\n)+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    blocks = [*re.findall(r"```yaml\n(.*?)```", text, re.DOTALL), *map(textwrap.dedent, indented)]
    return [block for block in blocks if re.match(r"[a-z]+:\n", block)]


def every_command() -> list[Command]:
    """Return every command of the documentation."""
    return [command for page in PAGES if page.exists() for command in commands_in(page)]


def _read(text: str, page: str) -> Iterator[Command]:
    language: str | None = None
    begun, held = 0, ""
    blank = True
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            language = line.strip()[3:].strip() if language is None else None
            continue
        indented = language is None and line.startswith("    ") and (blank or held.startswith(" "))
        if language is None and not indented:
            blank = not line.strip()
            for span in SPAN.findall(line):
                words = _words(span)
                if len(words) > 1 and _program(words) in PROGRAMS:
                    yield from _commands(words, page, number)
            continue
        begun, held = (begun, f"{held} {line.strip()}") if held.strip() else (number, line)
        if held.endswith("\\"):
            held = held[:-1].rstrip() or " "
            continue
        if _is_open(held):
            continue
        whole, held = held, " " if indented else ""
        if language == "console":
            if not whole.startswith("$ "):
                continue
            whole = whole[2:]
        elif language == "text" or (language not in SHELLS and _program(_words(whole)) not in PROGRAMS):
            continue
        yield from _commands(_words(whole), page, begun)


def _is_open(text: str) -> bool:
    """Whether a command's quote goes on in the next line."""
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return _program(text.split()) in PROGRAMS
    return False


def _words(text: str) -> list[str]:
    try:
        return shlex.split(OPTIONAL.sub(r"\1", text), comments=True)
    except ValueError:  # a lone quote or apostrophe: words, no command
        return text.split()


def _program(words: list[str]) -> str:
    first = next((word for word in words if not ASSIGNMENT.match(word)), "")
    return Path(first).name if first.startswith((".venv/bin/", "/")) else first


def _commands(words: list[str], page: str, line: int) -> Iterator[Command]:
    """Yield what a line runs: one command, or several joined by `&&` or `|`."""
    taken: list[str] = []
    for word in [*words, ";"]:
        if word not in CONTROL:
            taken.append(word)
            continue
        set_before = [each for each in taken if ASSIGNMENT.match(each)] if taken and taken[0] != "make" else []
        if set_before:
            first = next((n for n, each in enumerate(taken) if not ASSIGNMENT.match(each)), len(taken))
            set_before, taken = taken[:first], taken[first:]
        if taken:
            name = _program(taken)
            yield Command(page=page, line=line, words=(name, *taken[1:]), variables=tuple(set_before))
        taken = []
