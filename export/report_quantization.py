"""What quantization cost, stage by stage, and the audit of the file that came of it."""

from export import report_page
from export.report_facts import RunFacts
from nas_tf.base.errors import UserError
from nas_tf.base.run_folder import CONVERT, FINETUNE
from quant import flatbuffer
from quant.audit_picture import to_svg
from quant.audit_result import Audit
from quant.audit_tflite import audit_flatbuffer


def quantization(facts: RunFacts) -> str:
    """Float, simulated and file, each against the one before, and what is not on integers."""
    rows = []
    float_top1, qat_top1 = (facts.value(FINETUNE, f"{kind}_top1") for kind in ("float", "qat"))
    if qat_top1 is not None:
        rows.append(
            (
                "fake quantization, against float",
                f"{100 * (qat_top1 - float_top1):+.2f} points",
                _percent(facts.value(FINETUNE, "agreement")),
                _decibels(facts.value(FINETUNE, "snr_db")),
            )
        )
    simulated, written = (facts.value("evaluate", kind, "top1") for kind in ("qat", "int8"))
    if simulated is not None and written is not None:
        images = facts.value(CONVERT, "checked_images")
        snr = _decibels(facts.value(CONVERT, "checked_snr_db"), "all logits equal") if images else "—"
        rows.append(
            ("the file, against fake quantization", f"{100 * (written - simulated):+.2f} points", "—", snr)
        )
    header = ("step", "top-1", "same answers", "signal to noise of the logits")
    body = report_page.table(header, rows)
    audit = _audit(facts)
    if audit:
        verdict = (
            f"{audit.num_findings} findings in the file; the nodes concerned are marked."
            if audit.num_findings
            else f"Audit of the file: all of its {len(audit.nodes)} nodes that should be on integers are."
        )
        body += report_page.paragraph(verdict)
        drawing = f'<div class="figure">{to_svg(audit.nodes)}</div>'
        body += report_page.details("The file's graph, as audited", drawing)
    return report_page.section("Quantization, step by step", body)


def _audit(facts: RunFacts) -> Audit | None:
    path = facts.converted_file
    if path is None or facts.value(CONVERT, "dtype") not in (None, "int8"):
        return None
    try:
        return audit_flatbuffer(flatbuffer.read_file(path), path.name)
    except UserError:
        return None


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{share:.2%}"


def _decibels(value: float | None, absent: str = "—") -> str:
    return absent if value is None else f"{value:.1f} dB"
