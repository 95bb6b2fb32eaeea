"""Small HTML pieces: the page, its tables, its tiles. Everything that comes from files is escaped."""

import html
import re
from collections.abc import Sequence
from typing import Any

_BAR_PIXELS = 160
# With its unit; of an interval both ends. Names of candidates such as 6_5 are none.
_NUMBER = re.compile(r"[-+−]?\d[\d,.]* ?(%|points|dB|KiB|ms|s)?( to \d[\d.]* ?%?)?")
_STYLE = """
:root { color-scheme: light dark; --text: #1d2129; --soft: #5b6472; --page: #f5f6f8; --box: #fff;
  --line: #e2e5ea; --code: #eef0f4; --good: #0a7d4f; --bad: #b3261e; --bar: #56b4e9; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7ec; --soft: #9aa4b2; --page: #14171c;
  --box: #1d2128; --line: #323842; --code: #282d36; --good: #4cc38a; --bad: #ff8f87; --bar: #2f7fb0; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 0 0 10px; }
.sub { color: var(--soft); margin: 0 0 20px; overflow-wrap: anywhere; }
section { background: var(--box); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin: 16px 0; overflow-x: auto; }
/* Drawings have dark lines: on white in both modes. */
section svg, .figure { background: #fff; border-radius: 8px; } section svg { max-width: 100%; height: auto; }
.figure { overflow-x: auto; } .figure svg { max-width: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; }
.tile { background: var(--box); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 24px; font-weight: 650; } .tile span { color: var(--soft); }
.good b { color: var(--good); } .bad b { color: var(--bad); }
table { border-collapse: collapse; } td, th { padding: 5px 16px 5px 0; text-align: left;
  border-bottom: 1px solid var(--line); vertical-align: top; } th { color: var(--soft); font-weight: 600; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.tag { font-size: 12px; color: var(--soft); background: var(--code); border-radius: 6px; padding: 1px 7px;
  white-space: nowrap; }
code, pre { font: 13px/1.5 ui-monospace, monospace; background: var(--code); border-radius: 6px; }
code { padding: 1px 5px; } pre { padding: 10px 14px; white-space: pre-wrap; overflow-wrap: anywhere; }
.note { color: var(--soft); font-size: 13.5px; margin: 8px 0 0; }
details { margin: 10px 0 0; } summary { cursor: pointer; color: var(--soft); }
.bar { display: inline-block; height: 9px; background: var(--bar); border-radius: 3px; margin-right: 8px; }
@media (max-width: 600px) { main { padding: 16px 10px 40px; } section { padding: 14px 12px; }
  td, th { padding-right: 10px; } }
"""


def page(title: str, subtitle: str, body: str) -> str:
    """The whole self-contained document."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>{html.escape(title)}</h1><p class="sub">{html.escape(subtitle)}</p>'
        f"{body}</main></body></html>\n"
    )


def section(title: str, body: str, note: str = "") -> str:
    """A titled box; nothing when `body` is empty."""
    if not body:
        return ""
    return f"<section><h2>{html.escape(title)}</h2>{body}{paragraph(note)}</section>"


def paragraph(text: str) -> str:
    """A note under a figure or table."""
    return f'<p class="note">{html.escape(text)}</p>' if text else ""


def tile(value: str, label: str, verdict: bool | None = None) -> str:
    """A headline figure; `verdict` colours it good or bad."""
    kind = {True: " good", False: " bad", None: ""}[verdict]
    return f'<div class="tile{kind}"><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>'


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers are formatted by the caller, the last column says where they come from."""
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(h)}</th>" for h in header)
    body = "".join(
        "<tr>" + "".join(_cell(h, c) for h, c in zip(header, row, strict=True)) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def details(title: str, body: str) -> str:
    """What only some readers want, folded away."""
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>" if body else ""


class Html(str):
    """A cell's content that is HTML already."""


def bar(value: float, largest: float, label: str) -> Html:
    """A number as a bar, at most 160 pixels long, with its label."""
    width = round(_BAR_PIXELS * value / largest) if largest > 0 else 0
    return Html(f'<span class="bar" style="width:{width}px"></span>{html.escape(label)}')


def commands(lines: Sequence[str]) -> str:
    """Commands to copy."""
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def _cell(header: str, content: Any) -> str:
    if isinstance(content, Html):
        return f"<td>{content}</td>"
    text = html.escape(str(content))
    if header == "source":
        return f'<td><span class="tag">{text}</span></td>'
    return f'<td class="n">{text}</td>' if _NUMBER.fullmatch(text) else f"<td>{text}</td>"
