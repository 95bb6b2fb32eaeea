"""One self-contained HTML file with the graph drawn, and what is wrong marked in it."""

import html

from quant.audit_result import Audit, Node

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 270, 54, 44, 14
_LINE = 15
_ROWS = 28  # layers in one column of the picture
_MAX_DRAWN = 3000
_BOLD = ' style="font-weight:600"'
_COLORS = {"fine": ("#e3f1e5", "#5b9a68"), "float": ("#f9d2cf", "#b3261e"), "problem": ("#ffe9c2", "#b26a00")}
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px; color: #1c1c1c; background: #fff; }
h1 { font-size: 20px; margin: 0 0 4px; }
pre { background: #f5f5f5; padding: 12px; white-space: pre-wrap; }
svg text { font: 11px system-ui, sans-serif; }
.legend span { display: inline-block; padding: 2px 10px; margin-right: 8px; border: 1px solid; }
.verdict { font-size: 16px; margin: 8px 0 12px; }
"""


def to_html(audit: Audit) -> str:
    """The page: verdict, legend, findings, graph."""
    verdict = (
        "Everything that should be on integers is."
        if not audit.num_findings
        else f"{audit.num_findings} findings; the nodes concerned are marked."
    )
    legend = "".join(
        f'<span style="background:{_COLORS[key][0]};border-color:{_COLORS[key][1]}">{text}</span>'
        for key, text in (
            ("fine", "on the integer grid"),
            ("float", "not quantized"),
            ("problem", "quantized, but wrong"),
        )
    )
    return (
        "<!DOCTYPE html><html lang='en'><meta charset='utf-8'>"
        f"<title>Quantization audit</title><style>{_STYLE}</style>"
        f"<h1>Quantization audit of {html.escape(audit.model)}</h1>"
        f"<p class='verdict'>{verdict}</p><p class='legend'>{legend}</p>"
        f"<pre>{html.escape(audit.to_text())}</pre>{to_svg(audit.nodes)}</html>\n"
    )


def to_svg(nodes: tuple[Node, ...]) -> str:
    """The graph from top to bottom, wrapped into columns; each node has a tooltip."""
    if len(nodes) > _MAX_DRAWN:
        return f"<p>The graph has {len(nodes)} nodes; over {_MAX_DRAWN} are not drawn.</p>"
    places = _places(nodes)
    width = max((x for x, _ in places), default=0) + _WIDTH + _GAP_X
    height = max((y for _, y in places), default=0) + _HEIGHT + _GAP_Y
    edges = "".join(
        _edge(places[source], places[index]) for index, node in enumerate(nodes) for source in node.inputs
    )
    # Drawn after the edges, so that boxes lie on top of them.
    boxes = "".join(_box(node, place) for node, place in zip(nodes, places, strict=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#888"/></marker></defs>'
        f"{edges}{boxes}</svg>"
    )


def depths(nodes: tuple[Node, ...]) -> list[int]:
    """Longest way to each node from a node without inputs; inputs come first in `nodes`."""
    depth: list[int] = []
    for index, node in enumerate(nodes):
        before = [depth[source] for source in node.inputs if source < index]
        depth.append(max(before) + 1 if before else 0)
    return depth


def _places(nodes: tuple[Node, ...]) -> list[tuple[int, int]]:
    """Upper left corner of each box: depth decides the row, nodes of one depth lie side by side."""
    depth = depths(nodes)
    lanes: dict[int, int] = {}
    lane_of = []
    for level in depth:
        lane_of.append(lanes.get(level, 0))
        lanes[level] = lane_of[-1] + 1
    columns = max(depth, default=0) // _ROWS + 1
    widths = [
        max((lanes.get(level, 1) for level in range(c * _ROWS, (c + 1) * _ROWS)), default=1)
        for c in range(columns)
    ]
    starts = [sum(widths[:c]) for c in range(columns)]
    return [
        (
            _GAP_X + (starts[level // _ROWS] + lane) * (_WIDTH + _GAP_X),
            _GAP_Y + level % _ROWS * (_HEIGHT + _GAP_Y),
        )
        for level, lane in zip(depth, lane_of, strict=True)
    ]


def _edge(source: tuple[int, int], target: tuple[int, int]) -> str:
    """A straight line to the box below, else a curve beside the boxes between."""
    (x0, y0), (x1, y1) = source, target
    if x0 == x1 and y1 - y0 == _HEIGHT + _GAP_Y:
        path = f"M{x0 + _WIDTH / 2:.0f} {y0 + _HEIGHT}V{y1}"
    elif x0 == x1:
        side = x0 + _WIDTH
        bend = side + 26
        path = (
            f"M{side} {y0 + _HEIGHT * 0.7:.0f}C{bend} {y0 + _HEIGHT} {bend} {y1} "
            f"{side} {y1 + _HEIGHT * 0.3:.0f}"
        )
    else:
        middle = (x0 + _WIDTH + x1) / 2
        path = (
            f"M{x0 + _WIDTH} {y0 + _HEIGHT / 2:.0f}C{middle:.0f} {y0 + _HEIGHT / 2:.0f} "
            f"{middle:.0f} {y1 + _HEIGHT / 2:.0f} {x1} {y1 + _HEIGHT / 2:.0f}"
        )
    return f'<path d="{path}" fill="none" stroke="#888" marker-end="url(#tip)"/>'


def _box(node: Node, place: tuple[int, int]) -> str:
    x, y = place
    key = "float" if not node.quantized else "problem" if node.problems else "fine"
    fill, stroke = _COLORS[key]
    tooltip = html.escape("\n".join([node.kind, node.name, node.detail, *node.problems]))
    # What is wrong matters more than shapes, which stay in the tooltip.
    lines = (node.kind, node.name, "; ".join(node.problems) or node.detail)
    texts = "".join(
        f'<text x="{x + 8}" y="{y + 16 + _LINE * row}"{_BOLD if row == 0 else ""}>'
        f"{html.escape(_cut(line))}</text>"
        for row, line in enumerate(lines)
    )
    return (
        f'<g class="{key}"><title>{tooltip}</title><rect x="{x}" y="{y}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="5" fill="{fill}" stroke="{stroke}" '
        f'stroke-width="{1 if key == "fine" else 2.5}"/>{texts}</g>'
    )


def _cut(text: str, length: int = 44) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
