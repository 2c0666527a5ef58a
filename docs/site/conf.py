"""Sphinx, for `make docs`: build/docs-source, which bin/docs_source.py puts together."""

import re
from importlib.metadata import version as version_of

from pygments.lexer import RegexLexer, bygroups
from pygments.token import Comment, Generic, Keyword, Name, String, Text

project = "aiotcp"
author = "the authors of aiotcp"
copyright = author
version = release = version_of("aiotcp")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["files"]
root_doc = "index"
nitpicky = False

myst_heading_anchors = 4  # what GitHub makes of headings
highlight_language = "console"
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # what asyncio says of its methods is in its own documentation
suppress_warnings = ["ref.python"]  # more than one class is called Link
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"aiotcp {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False


class SessionLexer(RegexLexer):
    """What is typed and what comes of it. pygments' own reads quotes in what was printed as if a
    shell had to."""

    name = "session"
    aliases = ("console",)
    tokens = {  # noqa: RUF012
        "root": [
            (r"^([$#] )(.*\n)", bygroups(Generic.Prompt, Generic.Strong)),
            (r"^.*\n", Text),
        ],
    }


class LadderLexer(RegexLexer):
    """The ladder of `aiotcp.trace.ladder`, in the colours of `aiotcp run`."""

    name = "ladder"
    aliases = ("ladder",)
    tokens = {  # noqa: RUF012 - as pygments wants it
        "root": [
            (r"^ *[0-9]+\.[0-9]{3}  ", Comment, "event"),
            (r"^.*\n", Name),
        ],
        "event": [
            (r"\n", Text, "#pop"),
            (r"(.*✗.*?)((?:  .*)?)(?=\n)", bygroups(Generic.Deleted, Comment)),
            (r"# .*(?=\n)", Generic.Subheading),
            (r"! .*?(?= *│|\n)", String),
            (r"(?<=[│ ])[A-Z][A-Z0-9-]*(?: \([A-Z]+\))?(?= *(?:│|\n))", Keyword),
            (r"(.*[├◀▶┤].*[│┤])(.*)(?=\n)", bygroups(Text, Comment)),
            (r".", Text),
        ],
    }


_CALLED = ("class", "exception", "function", "method")
_PARAMETER = re.compile(r"(\w+): (.*)")
_BULLET = re.compile(r"\s*(?:[-*]|\d+\.|:\w[\w ]*:|\.\. )")


def as_rst(app, what, name, obj, options, lines):
    """Docstrings are written to be read as they are. "name: text" lines are parameters; what is
    indented, below a paragraph or in it, is a program or a table."""
    made = []
    outer = 0
    for block in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines).strip("\n")):
        rows = block.split("\n")
        indents = [len(row) - len(row.lstrip()) for row in rows]
        firsts = [row for row, indent in zip(rows, indents, strict=True) if indent == indents[0]]
        if _BULLET.match(rows[0]):
            made += [*rows, ""]
        elif all(_PARAMETER.match(row) for row in firsts) and indents[0] == 0 and what in _CALLED:
            made += [_PARAMETER.sub(r":param \1: \2", row) for row in rows]
            made.append("")
        elif indents[0] > outer or max(indents) > indents[0]:
            deeper = "   " if indents[0] == outer else ""
            made += [" " * outer + ".. code-block:: text", "", *(deeper + row for row in rows), ""]
            continue  # more of the same may follow
        else:
            made += [*rows, ""]
        outer = indents[0]
    lines[:] = made


def page_context(app, pagename, templatename, context, doctree):
    """The sidebar opens the branch where the reader is, no other: with all of them, a page for each
    scenario in each language, building takes twice the time."""
    if pagename.startswith("scenarios/zh/"):
        context["language"] = "zh-CN"
    whole = context["toctree"]
    context["toctree"] = lambda **options: whole(**options | {"collapse": True})


def setup(app):
    app.add_lexer("ladder", LadderLexer)
    app.add_lexer("console", SessionLexer)
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("html-page-context", page_context, priority=400)  # before furo
