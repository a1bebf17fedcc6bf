"""The documents: links lead somewhere, commands and paths exist, the site builds and is whole offline."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml

import coronet
from coronet.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "mlruns/README.md",
]
PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
COMMAND = typer.main.get_command(app)
# What makes a browser fetch something; links that a reader may click are not among them.
REMOTE_LOAD = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?(?:https?:)?//"
    r"|<link\b(?![^>]*rel=[\"']?canonical)[^>]*\bhref=[\"']?(?:https?:)?//"
    r"|url\([\"']?(?:https?:)?//|@import [\"'](?:https?:)?//|https?://unpkg\.com|https?://fonts\."
)


def _page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _code_lines(page: Path) -> list[str]:
    """Lines of the page's code blocks and its code spans, without comments and results."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    return [re.split(r"\s#\s|\s#$|\s{2,}#", line)[0].strip().removeprefix("$ ") for line in [*lines, *spans]]


def _commands(page: Path, program: str) -> list[str]:
    """What the page gives to `program`, one command a piece."""
    pieces = [piece.strip() for line in _code_lines(page) for piece in re.split(r"&&|;|\||·", line)]
    return [piece for piece in pieces if piece.startswith(f"{program} ")]


def _unknown_part(command: str) -> str | None:
    """The first word of a `coronet` command that the command line does not have."""
    node = COMMAND
    for word in shlex.split(command.replace("…", " "), posix=True)[1:]:
        if hasattr(node, "commands"):
            if word.startswith("-"):
                names = [option for parameter in node.params for option in parameter.opts]
                if word not in [*names, "--help"]:
                    return word
            elif word.isupper() or "|" in word:
                return None
            elif word not in node.commands:
                return word
            else:
                node = node.commands[word]
        elif re.match(r"--[a-z]", word):
            option = word.split("=")[0]
            known = {name for item in node.params for name in [*item.opts, *item.secondary_opts]}
            if option not in known | {"--help"}:
                return option
    return None


@pytest.mark.parametrize("page", PAGES, ids=_page_id)
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    targets = re.findall(r"\]\(([^)\s]+)[^)]*\)|(?:src|href)=\"([^\"]+)\"", text)
    missing = [
        target
        for target in (first or second for first, second in targets)
        if not re.match(r"https?:|mailto:|#", target) and not (page.parent / target.split("#")[0]).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PRESENT, ids=_page_id)
def test_commands_and_options_exist(page):
    unknown = [(command, word) for command in _commands(page, "coronet") if (word := _unknown_part(command))]
    assert not unknown


@pytest.mark.parametrize("page", PRESENT, ids=_page_id)
def test_make_targets_and_paths_exist(page):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    words = [command.split()[1] for command in _commands(page, "make")]
    assert not [word for word in words if re.fullmatch(r"[a-z]+", word) and word not in targets]
    folders = "src/coronet|benchmarks|tests|flows|requirements"
    paths = re.findall(rf"(?<![\w/.])(?:{folders})/[\w./-]*[\w/]", page.read_text(encoding="utf-8"))
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_pages_answer_one_question():
    pages = [page for page in PRESENT if page.name not in ("results.md", "index.md")]
    assert not [_page_id(page) for page in pages if len(page.read_text(encoding="utf-8").splitlines()) > 120]
    assert not [_page_id(page) for page in PAGES if "«" in page.read_text(encoding="utf-8")]


def test_every_figure_has_a_command_hardware_and_date():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    heads = [line for line in text.splitlines() if line.startswith("|") and "value" in line]
    assert heads
    assert not [line for line in heads if not line.endswith("| command | hardware | date |")]


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == coronet.__version__
    assert "2024.09.06.24313174" in citation["references"][0]["doi"]


def test_the_readme_quotes_at_most_five_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("| figure | value | target |")[1].split("\n\n")[0].splitlines()[2:]
    results = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert 1 <= len(table) <= 5
    for row in table:
        for value in row.split("|")[2].split("·"):
            assert value.strip() in results, row


@pytest.mark.slow
def test_site_builds_strictly_and_loads_nothing_from_outside(tmp_path):
    site = tmp_path / "site"
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    assert (site / "index.html").exists()
    loads = {}
    for path in site.rglob("*"):
        if path.suffix in (".html", ".css", ".js"):
            loads[path.name] = REMOTE_LOAD.search(path.read_text(encoding="utf-8"))
    assert not {name: found[0] for name, found in loads.items() if found}
