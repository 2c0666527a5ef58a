"""make docs: a page for each scenario, in English and in Chinese, and what is different from Linux.

    scenarios_doc.py FOLDER

All of it is made from the scenarios' files and from playing them, so it can't be out of date, and
isn't kept in the repository: `aiotcp run NAME` shows the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aiotcp.options import Options
from aiotcp.ranges import spelled
from aiotcp.scenario.model import GROUPS, LANGUAGES, Scenario, find, shipped
from aiotcp.scenario.player import play
from aiotcp.trace import explain, ladder
from aiotcp.trace.events import Segment, Trace

RFC = "https://www.rfc-editor.org/rfc/rfc{number}.html"

FIRST = ("open-passive", "close-active")
"""Where one begins to read, each in its group; the others follow by name."""

GROUP_NAMES = {
    "en": {
        "opening": "Opening",
        "closing": "Closing",
        "data": "Data, window, header",
        "failures": "Failures",
    },
    "zh": {
        "opening": "建立连接",
        "closing": "关闭连接",
        "data": "数据、窗口与首部",
        "failures": "异常情况",
    },
}

WORDS = {
    "en": {
        "scenarios": "Scenarios",
        "intro": "Situations of TCP, each with the question that it answers. The ladders below are "
        "what our own TCP does in virtual time, the same on each machine; `aiotcp run NAME` plays "
        "one in a terminal, `aiotcp report NAME -o report.html` draws it, and the tests hold each "
        "against what must be seen.",
        "reading": "Time goes down, in seconds. A line is a segment, with numbers relative to the "
        "first of its direction and the reason why it was sent; a state; what a program was told "
        "(`!`); or what was done to the network (`#`). `✗` is where a segment was lost.",
        "other": "[中文](zh/{name}.md)",
        "happens": "What happens",
        "network": "The network: {link}.",
        "no delay": "no delay, no loss",
        "host": "{host}: {options}.",
        "script": "The script",
        "plays": "Seconds, who, and what it does. `aiotcp run {name}` plays it.",
        "reasons": "Why each segment was sent",
        "discarded": "discarded",
        "reason": "reason",
        "meaning": "what it means",
        "where": "where it is written",
        "references": "Where it is written",
        "requirements": "[Requirements](../conformance.md): {ids}.",
        "linux": "Against Linux",
        "same": "`aiotcp run {name} --diff linux` plays it with the kernel in place of the {host}. "
        "What must be seen is the same.",
        "differs": "`aiotcp run {name} --diff linux` plays it with the kernel in place of the "
        "{host}. Different are:",
        "not live": "Played among stacks of our own only.",
        "differences": "[What is different from Linux](differences.md)",
        "linux plays": "Linux plays",
        "scenario": "scenario",
        "what and why": "what is different, and why",
        "all the same": "The same with Linux",
        "ours only": "Not played with Linux",
        "stop": ".",
        "between": ", ",
    },
    "zh": {
        "scenarios": "场景",
        "intro": "TCP 的各种情形，每个场景回答一个问题。"
        "下面的时序图是本项目自己的 TCP 在虚拟时间里的实际行为，在任何机器上都相同。"
        "`aiotcp run NAME --lang zh` 在终端里播放一个场景，"
        "`aiotcp report NAME -o report.html` 把它画成图；测试用同一份文件检查必须看到的内容。",
        "reading": "时间自上而下，单位为秒。"
        "每一行是：一个报文段（序号相对于该方向的第一个序号，右侧是发送它的原因）、"
        "一个状态、程序得知的事情（`!`），或对网络做的事情（`#`）。`✗` 表示报文段在那里丢失。",
        "other": "[English](../{name}.md)",
        "happens": "发生了什么",
        "network": "网络：{link}。",
        "no delay": "没有时延，没有丢包",
        "host": "{host}：{options}。",
        "script": "脚本",
        "plays": "每行依次为：秒、谁、做什么。用 `aiotcp run {name} --lang zh` 播放。",
        "reasons": "每个报文段为什么发送",
        "discarded": "被丢弃",
        "reason": "原因",
        "meaning": "含义",
        "where": "出处",
        "references": "出处",
        "requirements": "[需求条目](../../conformance.md)：{ids}。",
        "linux": "与 Linux 对比",
        "same": "`aiotcp run {name} --diff linux` 让 Linux 内核扮演 {host}：必须看到的内容相同。",
        "differs": "`aiotcp run {name} --diff linux` 让 Linux 内核扮演 {host}。不同之处：",
        "not live": "只在本项目自己的协议栈之间播放。",
        "differences": "[与 Linux 的差异](differences.md)",
        "linux plays": "Linux 扮演",
        "scenario": "场景",
        "what and why": "不同之处及其原因",
        "all the same": "与 Linux 相同的场景",
        "ours only": "不与 Linux 一起播放的场景",
        "stop": "。",
        "between": "、",
    },
}

DIFFERENCES = {
    "en": """\
# Differences to Linux

The [scenarios](index.md) marked for it are played with the kernel's TCP in one host's place, too:
`aiotcp run --all --on tun` checks what must be seen then, `aiotcp run NAME --diff linux` lists each
line that is different. What that shows, and why it is so, is below. Differences that a program
notices in sockets, loops and options are in
[Compatibility](../compatibility.md#differences-from-kernel-sockets), what we chose where the RFCs
leave it open is in [Architecture](../architecture.md#decisions-where-the-rfcs-leave-a-choice).
""",
    "zh": """\
# 与 Linux 的差异

[English](../differences.md)

标明可以与内核对比的[场景](index.md)，也会让 Linux 内核的 TCP 扮演其中一台主机来播放：
`aiotcp run --all --on tun` 检查那时必须看到的内容，
`aiotcp run NAME --diff linux --lang zh` 逐行列出不同之处。
下面是不同之处及其原因。程序在套接字、事件循环和选项上能察觉的差异见
[Compatibility](../../compatibility.md#differences-from-kernel-sockets)（英文），
RFC 留有余地之处本项目的选择见
[Architecture](../../architecture.md#decisions-where-the-rfcs-leave-a-choice)（英文）。
""",
}


class Played(NamedTuple):
    scenario: Scenario
    trace: Trace


def pages() -> Iterator[tuple[str, str]]:
    """The names of all pages, and their text."""
    names = sorted(shipped(), key=lambda name: name not in FIRST)
    played = [Played(scenario, play(scenario)) for scenario in map(find, names)]
    scenarios = [each.scenario for each in played]
    for language in LANGUAGES:
        folder = "zh/" if language == "zh" else ""
        yield f"{folder}index.md", index(scenarios, language)
        for each in played:
            yield f"{folder}{each.scenario.id}.md", page(each, language)
        yield f"{folder}differences.md", differences(scenarios, language)


def index(scenarios: list[Scenario], language: str) -> str:
    words = WORDS[language]
    parts = [f"# {words['scenarios']}", words["other"].format(name="index"), words["intro"]]
    parts += [words["reading"], words["differences"] + words["stop"]]
    for group in GROUPS:
        found = [each for each in scenarios if each.group == group]
        if not found:
            continue
        parts.append(f"## {GROUP_NAMES[language][group]}")
        parts.append(
            "\n".join(
                f"- [{plain(each.title[language])}]({each.id}.md) `{each.id}`  \n"
                f"  {plain(each.question[language])}"
                for each in found
            )
        )
        names = "\n".join(each.id for each in found)
        parts.append(f"```{{toctree}}\n:hidden:\n\n{names}\n```")
    return "\n\n".join(parts) + "\n"


def page(played: Played, language: str) -> str:
    """One scenario."""
    scenario, trace = played
    words = WORDS[language]
    name = scenario.id
    parts = [
        f"# {plain(scenario.title[language])}",
        f"`{name}` · {words['other'].format(name=name)}",
        f"**{plain(scenario.question[language])}**",
        plain(scenario.answer[language]),
        f"## {words['happens']}",
        f"```ladder\n{ladder.text(trace)}```",
        " ".join(setting(scenario, language)),
        f"## {words['script']}",
        words["plays"].format(name=name),
        f"```text\n{scenario.script.strip()}\n```",
        *reasons(trace, language),
    ]
    if scenario.rfc or scenario.req:
        parts.append(f"## {words['references']}")
        if scenario.rfc:
            parts.append("\n".join(f"- {linked(reference)}" for reference in scenario.rfc))
        if scenario.req:
            parts.append(words["requirements"].format(ids=", ".join(scenario.req)))
    parts.append(f"## {words['linux']}")
    if scenario.live is None:
        parts.append(words["not live"])
    else:
        verdict = "differs" if scenario.live.differs else "same"
        parts.append(words[verdict].format(name=name, host=scenario.live.kernel))
        if scenario.live.differs:
            parts.append("\n".join(f"- {plain(each[language])}" for each in scenario.live.differs))
    return "\n\n".join(parts) + "\n"


def setting(scenario: Scenario, language: str) -> Iterator[str]:
    """The network, and what hosts have been given that is not the default."""
    words = WORDS[language]
    link = f"`{scenario.link_words}`" if scenario.link_words else words["no delay"]
    yield words["network"].format(link=link)
    usual = Options()
    for host, options in scenario.hosts.items():
        changed = [
            f"`{field.name}={spelled(getattr(options, field.name))}`"
            for field in fields(Options)
            if getattr(options, field.name) != getattr(usual, field.name)
        ]
        if changed:
            yield words["host"].format(host=host, options=", ".join(changed))


def reasons(trace: Trace, language: str) -> list[str]:
    """A table of the reasons that stand at the right of the ladder."""
    words = WORDS[language]
    segments = [event for event in trace.events if isinstance(event, Segment)]
    rows = {}
    for segment in segments:
        if (said := explain.why().get(segment.why)) is not None:
            rows[segment.why] = (said.text(language), said.rfc)
        if (said := explain.drops().get(segment.dropped)) is not None:
            text = f"{words['discarded']}: {said.text(language)}"
            rows[segment.dropped] = (text, said.rfc)
    if not rows:
        return []
    table = [f"| {words['reason']} | {words['meaning']} | {words['where']} |", "|---|---|---|"]
    table += [
        f"| `{word}` | {plain(text)} | {', '.join(map(linked, split(rfc)))} |"
        for word, (text, rfc) in rows.items()
    ]
    return [f"## {words['reasons']}", "\n".join(table)]


def differences(scenarios: list[Scenario], language: str) -> str:
    words = WORDS[language]
    parts = [DIFFERENCES[language]]
    live = [(each, each.live) for each in scenarios if each.live is not None]
    if different := [(each, played) for each, played in live if played.differs]:
        head = (words["scenario"], words["linux plays"], words["what and why"])
        rows = [f"| {' | '.join(head)} |", "|---|---|---|"]
        rows += [
            f"| [`{each.id}`]({each.id}.md) | {played.kernel} | {plain(reason[language])} |"
            for each, played in different
            for reason in played.differs
        ]
        parts += ["\n".join(rows), ""]
    for title, found in (
        (words["all the same"], [each for each, played in live if not played.differs]),
        (words["ours only"], [each for each in scenarios if each.live is None]),
    ):
        if found:
            names = words["between"].join(f"[`{each.id}`]({each.id}.md)" for each in found)
            parts += [f"## {title}", "", f"{names}{words['stop']}", ""]
    return "\n".join(parts)


def split(references: str) -> list[str]:
    """References, separated by commas, one by one; a bare section is one of the RFC before it."""
    found: list[str] = []
    for reference in filter(None, re.split(r"[,;]\s*", references)):
        if found and not reference.startswith("RFC"):
            reference = " ".join([*found[-1].split()[:2], reference])
        found.append(reference)
    return found


def linked(reference: str) -> str:
    """A reference, such as RFC 9293 3.6, as a link to that section."""
    if (match := re.fullmatch(r"RFC (\d+)(?: ([\d.]+|[A-Z](?:\.\d+)*))?", reference)) is None:
        return plain(reference)
    number, section = match.groups()
    url = RFC.format(number=number)
    if section:
        url += f"#{'section' if section[0].isdigit() else 'appendix'}-{section}"
    return f"[{reference}]({url})"


def plain(text: str) -> str:
    """Text that Markdown shows as it is, but for what stands in backticks."""
    parts = text.split("`")
    for n in range(0, len(parts), 2):
        parts[n] = re.sub(r"([\\*_<>\[\]#|~$])", r"\\\1", parts[n])
    return "`".join(parts)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, text in pages():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
