"""A match report as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scb_d2.utils import pages
from scb_d2.utils.size_groups import SIZE_NAMES

__all__ = ["render_page"]

_SHOWN_OBJECTS = 50


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
    listings = {
        "Unmatched objects": data["unmatched"],
        "Objects that overlap no anchor": data["no_overlap"],
    }
    return pages.render_page(
        "matches",
        title=f"Matches between anchors and objects: {', '.join(data['about']['datasets'])}",
        verdict=data["verdict"]["text"],
        warnings=data["warnings"],
        facts=_facts(data),
        sizes=_size_table(data),
        shares=_share_table(data),
        rule=data["verdict"]["rule"],
        suggestions=_suggestions(data),
        figures=[(pages.inline_image(folder / name), caption) for name, caption in figures.items()],
        listings=[_listing(title, found) for title, found in listings.items() if found["count"]],
        notes=notes,
    )


def _facts(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    about, matcher = data["about"], data["about"]["matcher"]
    rows = {
        "Config": about["config_file"],
        "Detector": f"{about['architecture']}, matches of {about['detector_stage']}",
        "Input": about["input"],
        "Matcher": ", ".join(
            f"{name.replace('_', ' ')} {value}" if name != "class" else value
            for name, value in (matcher | matcher.get("settings", {})).items()
            if name != "settings"
        ),
        "Images": f"{data['num_images']:,} ({data['images_without_objects']:,} without objects)",
        "Objects": f"{data['num_objects']:,} ({data['annotations_left_out']:,} crowd or empty "
        "annotations left out)",
        "Unmatched": f"{data['unmatched']['count']:,}",
        "Overlap no anchor": f"{data['no_overlap']['count']:,}",
        "Best possible recall": f"{data['best_possible_recall']['all']:.2%} at "
        f"{data['best_possible_recall']['rule']}",
        "Size": about["sizes"]["rule"],
    }
    return list(rows.items())


def _size_table(data: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
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
    head = ["size", "objects", "mean M", *(f"M {label}" for label in labels), "reached"]
    return head, rows


def _share_table(data: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    shares = data["weight_shares"]
    total = sum(shares["objects"].values())
    rows = [["objects", *(f"{shares['objects'][name] / total:.1%}" for name in SIZE_NAMES), ""]]
    for form in (name for name in shares if name != "objects"):
        cells = [f"{shares[form]['share'][name]:.1%}" for name in SIZE_NAMES]
        relative = shares[form]["total"] / max(shares["stock"]["total"], 1e-12)
        rows.append([form, *cells, f"{relative:.2f}"])
    return ["weight", *SIZE_NAMES, "total / stock"], rows


def _suggestions(data: Mapping[str, Any]) -> dict[str, Any]:
    found = data["suggestions"]
    if data["best_possible_recall"]["iou"] is None:
        sentences = [
            f"{found['uncovered']:,} objects have no match. This matcher has no threshold of IoU "
            "that further anchors could reach; a larger input or a finer level gives small objects "
            "more."
        ]
        return {"sentences": sentences, "rows": []}
    if not found["uncovered"]:
        sentences = ["Every object reaches the matching threshold with some anchor."]
        return {"sentences": sentences, "rows": []}
    shapes = found["uncovered_shapes"]
    size, ratio = shapes["sqrt_area_px"], shapes["longer_by_shorter_edge"]
    sentences = [
        f"{found['uncovered']:,} objects do not reach the matching threshold with any anchor. "
        f"Their size (square root of the area, input pixels) is {size['p10']:g} / {size['p50']:g} /"
        f" {size['p90']:g} and their longer by shorter edge {ratio['p10']:g} / {ratio['p50']:g} / "
        f"{ratio['p90']:g} (10th / 50th / 90th percentile)."
    ]
    if not found["anchors"]:
        sentences.append("No single size or aspect ratio would cover 5 % of them.")
        return {"sentences": sentences, "rows": []}
    rows = [
        [
            f"{a['kind']} {a['value']:g}" + (" px" if a["kind"] == "size" else ""),
            a["level"],
            f"{a['added_anchors_per_image']:,}",
            f"{a['newly_covers_of_sample']:,} of {found['sampled']:,}",
        ]
        for a in found["anchors"]
    ]
    then = (
        f"With these added, {found['share_of_uncovered_then_covered']:.1%} of the uncovered "
        "would be covered (recomputed with the added anchors), and the best possible recall would "
        f"be {found['best_possible_recall_then']:.2%}. Heads that are shared over levels "
        "(RetinaNet, RPN) need the same number of anchors on every level: shift a size there, or "
        "add one to each level. A larger input has the same effect on small objects."
    )
    return {"sentences": sentences, "rows": rows, "then": then}


def _listing(title: str, found: Mapping[str, Any]) -> dict[str, Any]:
    shown = found["objects"][:_SHOWN_OBJECTS]
    rows = [
        [
            o["image_id"],
            o["annotation_id"],
            o["class"],
            o["size"],
            " ".join(f"{x:g}" for x in o.get("bbox_xyxy_native") or o["bbox_xywha_native"]),
            f"{o['best_iou']:.3f}",
            o["matches"],
        ]
        for o in shown
    ]
    more = f"The first {len(shown)}; more in matches.json." if len(shown) < found["count"] else ""
    return {"title": f"{title}: {found['count']:,}", "note": more, "rows": rows}
