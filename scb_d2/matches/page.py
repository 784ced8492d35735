"""A match report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from scb_d2.utils.size_groups import SIZE_NAMES

__all__ = ["render_page"]

_SHOWN_OBJECTS = 50
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.92rem; }
th, td { border-bottom: 1px solid #ccc; padding: 0.25rem 0.7rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
figure { margin: 1.5rem 0; }
figcaption, .note { color: #444; font-size: 0.92rem; }
.verdict { border-left: 0.4rem solid #0072B2; padding: 0.5rem 1rem; background: #f2f7fb; }
.warning { border-left: 0.4rem solid #D55E00; padding: 0.5rem 1rem; background: #fdf4ee; }
"""


def render_page(
    data: Mapping[str, Any], figures: Mapping[str, str], folder: Path, notes: Sequence[str]
) -> str:
    """Write the page; images are inlined and every text of the data set is escaped.

    Args:
        data: what :meth:`scb_d2.matches.run.MatchReport.to_json` returns.
        figures: file name to caption.
        folder: where the figures are.
        notes: sentences for the end of the page.
    """
    about, verdict = data["about"], data["verdict"]
    title = f"Matches between anchors and objects: {', '.join(about['datasets'])}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{escape(verdict["text"])}</p>',
        *(f'<p class="warning">{escape(warning)}</p>' for warning in data["warnings"]),
        _facts(data),
        "<h2>Matches by object size</h2>",
        _size_table(data),
        "<h2>Positive loss weight by object size</h2>",
        _share_table(data),
        f'<p class="note">{escape(verdict["rule"])}</p>',
        "<h2>Anchors for the uncovered objects</h2>",
        *_suggestions(data),
        "<h2>Figures</h2>",
        *(_figure(folder / name, caption) for name, caption in figures.items()),
        *_objects("Unmatched objects", data["unmatched"]),
        *_objects("Objects that overlap no anchor", data["no_overlap"]),
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _facts(data: Mapping[str, Any]) -> str:
    about, matcher = data["about"], data["about"]["matcher"]
    rows = {
        "Config": about["config_file"],
        "Detector": f"{about['architecture']}, matches of {about['detector_stage']}",
        "Input": about["input"],
        "Matcher": f"{matcher['class']}, IoU {matcher['thresholds']}, labels {matcher['labels']}, "
        f"low quality: {matcher['low_quality']}",
        "Images": f"{data['num_images']:,} ({data['images_without_objects']:,} without objects)",
        "Objects": f"{data['num_objects']:,} ({data['annotations_left_out']:,} crowd or empty "
        "annotations left out)",
        "Unmatched": f"{data['unmatched']['count']:,}",
        "Overlap no anchor": f"{data['no_overlap']['count']:,}",
        "Best possible recall": f"{data['best_possible_recall']['all']:.2%} at IoU "
        f"{data['best_possible_recall']['iou']:g}",
        "Size": about["sizes"]["rule"],
    }
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _size_table(data: Mapping[str, Any]) -> str:
    ranges = data["ranges"]
    labels = list(ranges[SIZE_NAMES[0]])
    rows = []
    for name in SIZE_NAMES:
        recall = data["best_possible_recall"]["by_size"][name]
        rows.append(
            [
                name,
                f"{data['weight_shares']['objects'][name]:,}",
                f"{data['weight_shares']['stock']['mean'][name]:.2f}",
                *(f"{ranges[name][label]:,}" for label in labels),
                "-" if recall is None else f"{recall:.1%}",
            ]
        )
    head = ["size", "objects", "mean M", *(f"M {label}" for label in labels), "reach the IoU"]
    return _table(head, rows)


def _share_table(data: Mapping[str, Any]) -> str:
    shares = data["weight_shares"]
    total = sum(shares["objects"].values())
    rows = [["objects", *(f"{shares['objects'][name] / total:.1%}" for name in SIZE_NAMES), ""]]
    for form in (name for name in shares if name != "objects"):
        cells = [f"{shares[form]['share'][name]:.1%}" for name in SIZE_NAMES]
        relative = shares[form]["total"] / max(shares["stock"]["total"], 1e-12)
        rows.append([form, *cells, f"{relative:.2f}"])
    return _table(["weight", *SIZE_NAMES, "total / stock"], rows)


def _suggestions(data: Mapping[str, Any]) -> list[str]:
    found = data["suggestions"]
    if not found["uncovered"]:
        return ["<p>Every object reaches the matching threshold with some anchor.</p>"]
    shapes = found["uncovered_shapes"]
    size, ratio = shapes["sqrt_area_px"], shapes["longer_by_shorter_edge"]
    lines = [
        f"<p>{found['uncovered']:,} objects do not reach the matching threshold with any anchor. "
        f"Their size (square root of the area, input pixels) is {size['p10']:g} / {size['p50']:g} /"
        f" {size['p90']:g} and their longer by shorter edge {ratio['p10']:g} / {ratio['p50']:g} / "
        f"{ratio['p90']:g} (10th / 50th / 90th percentile).</p>"
    ]
    if not found["anchors"]:
        return [*lines, "<p>No single size or aspect ratio would cover 5 % of them.</p>"]
    rows = [
        [
            f"{a['kind']} {a['value']:g}" + (" px" if a["kind"] == "size" else ""),
            a["level"],
            f"{a['added_anchors_per_image']:,}",
            f"{a['newly_covers_of_sample']:,} of {found['sampled']:,}",
        ]
        for a in found["anchors"]
    ]
    lines.append(_table(["add", "level", "anchors per image", "covers (of a sample)"], rows))
    lines.append(
        f"<p>With these added, {found['share_of_uncovered_then_covered']:.1%} of the uncovered "
        f"would be covered (recomputed with the added anchors), and the best possible recall would "
        f"be {found['best_possible_recall_then']:.2%}. Heads that are shared over levels "
        "(RetinaNet, RPN) need the same number of anchors on every level: shift a size there, or "
        "add one to each level. A larger input has the same effect on small objects.</p>"
    )
    return lines


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _objects(title: str, listing: Mapping[str, Any]) -> list[str]:
    if not listing["count"]:
        return []
    shown = listing["objects"][:_SHOWN_OBJECTS]
    rows = [
        [
            str(o["image_id"]),
            str(o["annotation_id"]),
            str(o["class"]),
            o["size"],
            " ".join(f"{x:g}" for x in o["bbox_xyxy_native"]),
            f"{o['best_iou']:.3f}",
            str(o["matches"]),
        ]
        for o in shown
    ]
    head = ["image", "annotation", "class", "size", "box x0 y0 x1 y1, native px", "best IoU", "M"]
    heading = f"<h2>{escape(title)}: {listing['count']:,}</h2>"
    note = f"<p>The first {len(shown)}; more in matches.json.</p>"
    return [heading, note if len(shown) < listing["count"] else "", _table(head, rows)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"
