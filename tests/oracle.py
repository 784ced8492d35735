"""Plain-Python references, one anchor and one object at a time."""

import math


def count_matches(matched_idxs, anchor_labels, num_objects):
    counts = [0] * num_objects
    for index, label in zip(matched_idxs, anchor_labels, strict=True):
        if label == 1 and num_objects:
            counts[index] += 1
    return counts


def weigh_object(count, form="information", alpha=1.0, beta=3.0):
    m = max(count, 1)
    return (
        beta
        * {
            "information": (math.log(m) + alpha) / m,
            "inverse_sqrt": 1 / math.sqrt(m),
            "inverse": 1 / m,
            "inverse_log": 1 / (math.log(m) + alpha),
            "uniform": 1.0,
        }[form]
    )


def weigh_object_by_area(box, form, beta=3.0):
    area = max((box[2] - box[0]) * (box[3] - box[1]), 4)
    say = {"log_area": math.log(area) / math.log(1024), "inverse_sqrt_area": 32 / math.sqrt(area)}
    return beta * say[form] / 3


def weigh_anchors(
    matched_idxs, anchor_labels, num_objects, form="information", alpha=1.0, beta=3.0
):
    counts = count_matches(matched_idxs, anchor_labels, num_objects)
    return [
        weigh_object(counts[index], form, alpha, beta) if label == 1 and num_objects else 1.0
        for index, label in zip(matched_idxs, anchor_labels, strict=True)
    ]


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if inter > 0 else 0.0


def match(quality, thresholds, labels, low_quality=None):
    """Match R anchors to G objects from a G x R table of IoU.

    ``low_quality``: None, "stock" or "reassign".
    """
    num_anchors = len(quality[0]) if quality else 0
    matched_idxs, anchor_labels = [], []
    for anchor in range(num_anchors):
        column = [row[anchor] for row in quality]
        best = max(column)
        matched_idxs.append(column.index(best))
        anchor_labels.append(labels[sum(best >= t for t in thresholds)])
    for index, row in enumerate(quality):
        best = max(row)
        if low_quality == "stock":
            for anchor, value in enumerate(row):
                if value == best:
                    anchor_labels[anchor] = 1
        elif low_quality == "reassign" and best > 0:
            matched_idxs[row.index(best)] = index
            anchor_labels[row.index(best)] = 1
    return matched_idxs, anchor_labels


def match_points(boxes, points, radius):
    """FCOS's rule, one point at a time.

    ``points``: (x, y, stride, least, most) of each, the last two the range of its level in pixels.
    """
    matched_idxs, labels = [], []
    for x, y, stride, least, most in points:
        fitting = []
        for index, (x1, y1, x2, y2) in enumerate(boxes):
            from_center = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
            edges = (x - x1, y - y1, x2 - x, y2 - y)
            if min(edges) > 0 and from_center < radius * stride and least < max(edges) < most:
                fitting.append(((x2 - x1) * (y2 - y1), index))
        matched_idxs.append(min(fitting)[1] if fitting else 0)
        labels.append(1 if fitting else 0)
    return matched_idxs, labels


def match_atss(boxes, levels, num_candidates, per_cell):
    """ATSS, one object at a time.

    ``levels``: XYXY anchors of each level; those of a cell lie next to each other.
    """
    anchors = [anchor for level in levels for anchor in level]
    owners, best = [0] * len(anchors), [0.0] * len(anchors)
    for index, box in enumerate(boxes):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        candidates, start = [], 0
        for level in levels:
            distances = []
            for cell in range(len(level) // per_cell):
                x1, y1, x2, y2 = level[cell * per_cell]
                distances.append((((x1 + x2) / 2 - x) ** 2 + ((y1 + y2) / 2 - y) ** 2, cell))
            for _, cell in sorted(distances)[:num_candidates]:
                candidates += range(start + cell * per_cell, start + (cell + 1) * per_cell)
            start += len(level)
        ious = [iou(anchors[i], box) for i in candidates]
        mean = sum(ious) / len(ious)
        std = math.sqrt(sum((v - mean) ** 2 for v in ious) / max(len(ious) - 1, 1))
        for i, value in zip(candidates, ious, strict=True):
            x1, y1, x2, y2 = anchors[i]
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            inside = min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01
            if value >= mean + std and inside and value > best[i]:
                owners[i], best[i] = index, value
    return owners, [int(value > 0) for value in best]
