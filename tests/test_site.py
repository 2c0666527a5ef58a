"""The documentation: links hold, each page is in the site, and each scenario has its pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aiotcp.scenario.model import LANGUAGES, find, shipped

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def make(script: str, folder: Path) -> None:
    subprocess.run([sys.executable, ROOT / "bin" / script, folder], check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Sphinx is given."""
    folder: Path = tmp_path_factory.mktemp("site")
    make("docs_source.py", folder)
    make("scenarios_doc.py", folder / "scenarios")
    return folder


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub and Sphinx make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Links to what is not there."""
    found = []
    text = re.sub(r"`[^`\n]*`", "``", FENCE.sub("", page.read_text()))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_hold_in_the_repository(page: Path) -> None:
    assert broken(page) == []


def test_links_hold_in_the_site(site: Path) -> None:
    pages = sorted(site.rglob("*.md"))
    assert {page: links for page in pages if (links := broken(page))} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_says_its_language(page: Path) -> None:
    opening = [block.splitlines()[0] for block in FENCE.findall(page.read_text())]
    assert "```" not in opening


def test_each_page_is_in_the_navigation_once(site: Path) -> None:
    trees = re.findall(r"```\{toctree\}\n(.*?)```", (site / "index.md").read_text(), re.DOTALL)
    named = [
        line for tree in trees for line in tree.split("\n") if line and not line.startswith(":")
    ]
    assert len(named) == len(set(named))
    assert {path.stem for path in PAGES[1:]} <= set(named)
    assert all((site / f"{name}.md").exists() for name in named)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_scenario_has_a_page(site: Path, language: str) -> None:
    folder = site / "scenarios" / ("zh" if language == "zh" else "")
    index = (folder / "index.md").read_text()
    for name in shipped():
        scenario = find(name)
        assert f"]({name}.md)" in index
        page = (folder / f"{name}.md").read_text()
        assert page.startswith(f"# {scenario.title[language]}\n")
        assert scenario.script.strip() in page
        (ladder,) = re.findall(r"```ladder\n(.*?)```", page, re.DOTALL)
        assert re.search(r"[▶◀✗]", ladder)
        assert max(map(len, ladder.splitlines())) <= 100
        other = folder / ("zh" if language == "en" else "..") / f"{name}.md"
        assert other.exists()


def test_references_lead_to_their_sections(site: Path) -> None:
    page = (site / "scenarios" / "close-active.md").read_text()
    assert "[RFC 9293 3.6](https://www.rfc-editor.org/rfc/rfc9293.html#section-3.6)" in page
    for path in (site / "scenarios").glob("*.md"):
        # What is no link after all, or a link to nowhere in particular.
        text = re.sub(r"\[RFC [^]]*\]\(https://[^)]*\.html(?:#[^)]+)?\)", "", path.read_text())
        assert "rfc-editor" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_differences_to_linux_are_listed(site: Path, language: str) -> None:
    folder = site / "scenarios" / ("zh" if language == "zh" else "")
    page = (folder / "differences.md").read_text()
    for name in shipped():
        scenario = find(name)
        assert f"[`{name}`]({name}.md)" in page
        if scenario.live is not None and scenario.live.differs:
            assert page.count(f"[`{name}`]({name}.md) | ") == len(scenario.live.differs)
            for reason in scenario.live.differs:
                assert f" | {reason[language]} |" in page
                assert f"- {reason[language]}\n" in (folder / f"{name}.md").read_text()
