"""The files of the advice: a page, every number as JSON, a config and a plan."""

from __future__ import annotations

import os
from pathlib import Path

from scb_d2.errors import ConfigError
from scb_d2.utils import pages
from scb_d2.utils.files import staged_directory
from scb_d2.utils.plain_json import to_json
from scb_d2.utils.size_groups import SIZE_NAMES

from .advised_config import advised_config
from .plan import plan_of
from .run import Advice

__all__ = ["NOTHING", "headline", "write_advice"]

NOTHING = "Nothing to change: no cause of lost objects that a config can mend was found."
_OF_ADVICE = ("advised.yaml", "advised.py", "plan.yaml")


def headline(advice: Advice) -> str:
    """What comes out, in one sentence."""
    if not advice.findings:
        return NOTHING
    number = len(advice.findings)
    text = f"{number} finding{'' if number == 1 else 's'}, most objects concerned first"
    if advice.recall_then is not None:
        text += (
            f"; best possible recall {advice.recall_now['all']:.1%} -> "
            f"{advice.recall_then['all']:.1%} where all advice is followed"
        )
    return f"{text}."


def write_advice(advice: Advice, output_dir: str | Path) -> list[Path]:
    """Write ``advice.html`` and ``advice.json``, and what follows from changes.

    That is ``advised.yaml``, or ``advised.py`` for a LazyConfig, and ``plan.yaml``.

    Args:
        advice: from :func:`scb_d2.advise.run.advise`.
        output_dir: folder, made if needed. Files of earlier advice there are replaced.

    Returns:
        The paths written, the page first.

    Raises:
        UserError: if the folder cannot be written, or holds the config itself.
    """
    output, settings = Path(output_dir), advice.situation.settings
    name = f"advised{settings.suffix}"
    if (output / name).resolve() == Path(settings.path).resolve():
        raise ConfigError(f"--output {output}: holds {name}, the config that is advised about.")
    texts = {"advice.json": to_json(advice.to_json())}
    if advice.changes:
        texts[name] = advised_config(advice, os.path.abspath(output))
        plan = plan_of(advice, os.path.abspath(output), str(output / "experiment"))
        if plan is not None:
            texts["plan.yaml"] = plan
    texts["advice.html"] = _page(advice, list(texts))
    with staged_directory(output) as folder:
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    for file in _OF_ADVICE:
        if file not in texts:
            (output / file).unlink(missing_ok=True)
    return [output / file for file in reversed(texts)]


def _page(advice: Advice, files: list[str]) -> str:
    data = advice.to_json()
    sample = f"{data['images_matched']:,} of them matched"
    facts = [
        ("Config", " ".join([data["config_file"], *data["overrides"]])),
        ("Detector", data["detector"]),
        ("Data", ", ".join(data["datasets"])),
        ("Images", f"{data['images']:,}, {sample}"),
        ("Objects", f"{data['objects']:,}"),
    ]
    return pages.render_page(
        "advice",
        title=f"Advice: {os.path.basename(data['config_file'])}",
        verdict=headline(advice),
        facts=facts,
        recall=_recall(advice),
        findings=[
            finding.to_json()
            | {
                "rows": [
                    (c.key, c.value, c.reason) for c in finding.changes or finding.changes_together
                ]
            }
            for finding in advice.findings
        ],
        files=files,
    )


def _recall(advice: Advice) -> list[tuple[str, ...]]:
    if advice.recall_then is None:
        return []
    rows = {"as is": advice.recall_now, "all advice": advice.recall_then}
    names = ("all", *SIZE_NAMES)
    return [
        (name, *("-" if row[n] != row[n] else f"{row[n]:.1%}" for n in names))
        for name, row in rows.items()
    ]
