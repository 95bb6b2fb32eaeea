"""Command: what of a quantized network is not quantized, or not well.

    python -m quant.audit --model=runs/a/convert/model_int8.tflite \\
        --output_json=runs/audit.json --output_html=runs/audit.html
"""

from flags import paths
from nas_tf.base import cli, files
from quant.audit_picture import to_html
from quant.audit_run import run_audit

_MODEL = paths.DEFINE_path(
    "model", None, "A .tflite file, or a fine-tuned model folder (<workdir>/finetune/model).", required=True
)
_JSON = paths.DEFINE_path("output_json", None, "Also write the findings to this file.")
_HTML = paths.DEFINE_path(
    "output_html", None, "Also draw the graph, with the findings marked, into this HTML file."
)


def main() -> None:
    """Audits, prints the findings and writes what was asked for."""
    cli.check_outputs(_JSON.value, _HTML.value)
    audit = run_audit(_MODEL.value)
    print(audit.to_text())
    if _JSON.value:
        files.write_json(_JSON.value, audit.to_json())
    if _HTML.value:
        files.write_text(_HTML.value, to_html(audit))
    facts = {"findings": audit.num_findings}
    facts |= {"json": _JSON.value} if _JSON.value else {}
    facts |= {"picture": _HTML.value} if _HTML.value else {}
    cli.print_facts("Audited", facts)


if __name__ == "__main__":
    cli.run(main, resumes=False)
