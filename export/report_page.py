"""Small HTML pieces: the page, its tables, its tiles. Everything that comes from files is escaped."""

import html
from collections.abc import Sequence
from typing import Any

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2129; background: #f5f6f8; margin: 0; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; } h2 { font-size: 18px; margin: 0 0 10px; }
.sub { color: #5b6472; margin: 0 0 20px; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid #e2e5ea; border-radius: 10px; padding: 18px 20px;
  margin: 16px 0; overflow-x: auto; }
section svg { max-width: 100%; height: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; }
.tile { background: #fff; border: 1px solid #e2e5ea; border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 24px; font-weight: 650; } .tile span { color: #5b6472; }
.good b { color: #0a7d4f; } .bad b { color: #b3261e; }
table { border-collapse: collapse; } td, th { padding: 5px 16px 5px 0; text-align: left;
  border-bottom: 1px solid #eceef2; vertical-align: top; } th { color: #5b6472; font-weight: 600; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.tag { font-size: 12px; color: #5b6472; background: #eef0f4; border-radius: 6px; padding: 1px 7px;
  white-space: nowrap; }
code, pre { font: 13px/1.5 ui-monospace, monospace; background: #eef0f4; border-radius: 6px; }
code { padding: 1px 5px; } pre { padding: 10px 14px; white-space: pre-wrap; overflow-wrap: anywhere; }
.note { color: #5b6472; font-size: 13.5px; margin: 8px 0 0; }
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


def commands(lines: Sequence[str]) -> str:
    """Commands to copy."""
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def _cell(header: str, content: Any) -> str:
    text = html.escape(str(content))
    if header == "source":
        return f'<td><span class="tag">{text}</span></td>'
    numeric = text[:1].isdigit() or text[:1] in "-+−"
    return f'<td class="n">{text}</td>' if numeric else f"<td>{text}</td>"
