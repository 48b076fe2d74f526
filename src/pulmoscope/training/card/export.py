"""What a card says of an export: from what, at which precision, and how its answers compare."""

from __future__ import annotations

from pulmoscope.runtime.precision import TITLES, Export

TITLE = "Export"
FIGURES = {
    "labels": "Images with the same most probable class",
    "decisions": "Images with the same decision (the class that is reported, or none)",
    "auroc": "Mean AUROC over the classes, difference",
    "calibration_error": "Calibration error, difference",
    "heat_maps": "Correlation of the heat maps' cells (Grad-CAM), mean",
    "outputs": "Largest difference of an output, in its standard deviations",
}
_MEANS = {
    "fp32": "It computes in single precision.",
    "fp16": "Its weights are stored in half precision; it computes in single precision.",
    "bf16": "It computes in bfloat16 where the CPU has instructions for it, else in single precision.",
    "int8": "It computes in integers of eight bits, but for the layers named below.",
}


def export_section(export: Export) -> list[str]:
    """The lines of the section, as Markdown."""
    source, verified = export.source, export.verified
    lines = [
        f"Made from {source['name']} {source['version']} (`{source['sha256']}`), whose networks compute in single "
        f"precision; stored in {TITLES[export.format]}. {_MEANS[export.precision]} All figures elsewhere in this card "
        "were measured before the export.",
        "",
        _compared_on(export),
        "",
        "| figure | found | limit |",
        "|---|---:|---:|",
    ]
    for name, value in verified["figures"].items():
        found = "not defined" if value is None else f"{value:.4f}"
        lines.append(f"| {FIGURES[name]} | {found} | {verified['limits'][name]:g} |")
    lines += ["", "| network | precision | layers in single precision | agreement |", "|---|---|---:|---:|"]
    for name, precision in export.networks.items():
        facts = verified["networks"].get(name, {})
        layers = f"{facts['in_single_precision']} of {facts['layers']}" if "layers" in facts else "–"
        agreement = f"{facts['agreement']:.4f}" if "agreement" in facts else "–"
        lines.append(f"| {name} | {precision} | {layers} | {agreement} |")
    return lines


def _compared_on(export: Export) -> str:
    verified, calibration = export.verified, export.calibration
    if not verified["images"]:
        return "Its outputs were compared with theirs on seeded noise."
    emulated = " This CPU has no bfloat16: it was emulated." * verified["emulated"]
    text = f"Its answers were compared with theirs on {verified['images']:,} images of the split {verified['split']}"
    if calibration:
        text += f"; ranges of int8 were set with {calibration['images']:,} of {calibration['split']}"
    return f"{text}.{emulated}"
