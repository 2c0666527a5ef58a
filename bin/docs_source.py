"""make docs: puts together what Sphinx reads, in a folder of its own.

    docs_source.py FOLDER

The pages of docs/ and the README are written for whoever reads them in the repository. Here they
become one site: the README its first page, links that leave docs/ links to copies of those files,
and what docs/site/ holds (front page, API) is added. Pages that are generated and not kept come
from bin/scenarios_doc.py.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aiotcp.scenario.model import find
from aiotcp.scenario.player import play
from aiotcp.trace import ladder

ROOT = Path(__file__).resolve().parents[1]

LINK = re.compile(r"(\]\()([^)#\s:]+)(#[^)\s]*)?\)")

NAVIGATION = {
    "Use it": ("start", "guide", "links", "options", "congestion"),
    "Watch it": ("watching", "report", "counters"),
    "Break it": (
        "testing",
        "scenarios/index",
        "scenarios/zh/index",
        "scenarios/differences",
        "scenarios/zh/differences",
    ),
    "Inside": ("architecture", "performance", "compatibility", "conformance", "api/index"),
}


def build(folder: Path) -> None:
    shutil.copytree(ROOT / "docs" / "site", folder, dirs_exist_ok=True)
    for path in sorted((ROOT / "docs").glob("*.md")):
        (folder / path.name).write_text(adapted(path, folder), encoding="utf-8")
    start = adapted(ROOT / "README.md", folder).replace("# aiotcp\n", "# Start here\n", 1)
    (folder / "start.md").write_text(start, encoding="utf-8")
    index = folder / "index.md"
    front = re.sub(r"\{ladder of (.+)\}\n", shown, index.read_text(encoding="utf-8"))
    index.write_text(front + navigation(folder), encoding="utf-8")
    pictures = ROOT / "docs" / "images"
    shutil.copytree(pictures, folder / "images", dirs_exist_ok=True)


def shown(match: re.Match[str]) -> str:
    return ladder.text(play(find(match[1])))


def adapted(path: Path, folder: Path) -> str:
    """The page, with links that hold in the site."""

    def link(match: re.Match[str]) -> str:
        before, target, anchor = match[1], match[2], match[3] or ""
        found = (path.parent / target).resolve()
        if not found.exists():
            raise SystemExit(f"{path.relative_to(ROOT)}: there is no {target}")
        name = found.relative_to(ROOT).as_posix()
        if name == "README.md":
            name = "start.md"
        elif name.startswith("docs/"):
            name = posixpath.relpath(name, "docs")
        else:
            copy = folder / "files" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, copy)
            name = f"files/{name}"
        return f"{before}{name}{anchor})"

    parts = re.split(r"(^```.*?^```$)", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    parts[::2] = [LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)


def navigation(folder: Path) -> str:
    """All pages, each below one heading; what is new and not in `NAVIGATION` is below the last."""
    made = {path.stem for path in folder.glob("*.md")} - {"index"}
    known = {name for names in NAVIGATION.values() for name in names}
    parts = []
    for title, names in NAVIGATION.items():
        shown = [name for name in names if "/" in name or name in made]
        if title == "Inside":
            shown += sorted(made - known)
        parts += ["", "```{toctree}", ":hidden:", f":caption: {title}", "", *shown, "```"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    build(Path(sys.argv[1]))
