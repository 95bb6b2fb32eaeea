"""The architecture drawn block by block, as an inline SVG."""

import html

from nas_tf.space.architecture import Architecture
from nas_tf.space.layer_spec import BlockSpec, LayerSpec

# Colour-blind safe (Okabe and Ito), one per kernel size.
KERNEL_COLOURS = {1: "#999999", 3: "#56b4e9", 5: "#009e73", 7: "#e69f00"}
_FIXED_COLOUR = "#c8c8d0"
_COLUMN, _GAP, _BASE, _UNIT = 40, 6, 190, 22


def draw(architecture: Architecture, resolution: int, num_classes: int) -> str:
    """One column per layer: colour is the kernel, height the expansion, dashes a skipped block."""
    layers = architecture.layers(resolution, num_classes)
    width = len(layers) * (_COLUMN + _GAP) + _GAP
    columns = "".join(_column(layer, index) for index, layer in enumerate(layers))
    shortcuts = "".join(
        _shortcut(index)
        for index, layer in enumerate(layers)
        if isinstance(layer, BlockSpec) and layer.has_shortcut and not layer.is_skipped
    )
    # At most one and a half times as large as drawn: a small network would else fill the page's width.
    return (
        f'<svg viewBox="0 0 {width} 262" role="img" aria-label="architecture" '
        f'style="min-width:{min(width, 760)}px;max-width:{width * 3 // 2}px">'
        f"{columns}{shortcuts}</svg>"
    )


def _appearance(layer: LayerSpec) -> tuple[str, str, int]:
    """Label, colour and height in pixels of a layer's column."""
    if not isinstance(layer, BlockSpec):
        names = {"StemSpec": "conv 3×3", "HeadSpec": "conv 1×1", "FeaturesSpec": "pool, conv 1×1"}
        classes = "pool + classes" if getattr(layer, "pools", False) else "classes"
        name = names.get(type(layer).__name__, classes)
        return name, _FIXED_COLOUR, 5 * _UNIT
    drawing = layer.operation.drawing
    colour = KERNEL_COLOURS.get(drawing.kernel, _FIXED_COLOUR) if drawing.kernel else "none"
    # Even an expansion of 1 must be tall enough for its label.
    return drawing.label, colour, (3 + drawing.height) * _UNIT * 3 // 4


def _column(layer: LayerSpec, index: int) -> str:
    label, colour, height = _appearance(layer)
    x, middle = _GAP + index * (_COLUMN + _GAP), _GAP + index * (_COLUMN + _GAP) + _COLUMN / 2
    border = 'stroke="#888" stroke-dasharray="4 3"' if colour == "none" else 'stroke="#0003"'
    shape = f"{layer.output_size}²" if not type(layer).__name__.startswith("Class") else ""
    stride = "↓2" if layer.stride == 2 else ""
    tip = html.escape(
        f"{label}, {layer.input_size}×{layer.input_size}×{layer.input_width} → "
        f"{layer.output_width} channels, {layer.params:,} parameters, "
        f"{layer.macs / 1e6:.2f} M multiply-adds"
    )
    return (
        f"<g><title>{tip}</title>"
        f'<rect x="{x}" y="{_BASE - height}" width="{_COLUMN}" height="{height}" rx="4" '
        f'fill="{colour}" {border}/>'
        f'<text transform="translate({middle + 4} {_BASE - 6}) rotate(-90)" font-size="12">'
        f"{label}</text>"
        f'<text x="{middle}" y="{_BASE + 16}" font-size="11" text-anchor="middle">'
        f"{layer.output_width}</text>"
        f'<text x="{middle}" y="{_BASE + 31}" font-size="10" text-anchor="middle" fill="#666">'
        f"{shape}</text>"
        f'<text x="{middle}" y="{_BASE + 47}" font-size="11" text-anchor="middle" fill="#a33">'
        f"{stride}</text></g>"
    )


def _shortcut(index: int) -> str:
    x = _GAP + index * (_COLUMN + _GAP)
    return (
        f'<path d="M{x} {_BASE + 52} q{_COLUMN / 2} 12 {_COLUMN} 0" fill="none" '
        'stroke="#555" stroke-width="1.3"><title>identity shortcut</title></path>'
    )
