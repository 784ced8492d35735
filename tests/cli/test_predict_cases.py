"""The collected pictures that failed elsewhere, through `predict`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"

pytestmark = pytest.mark.skipif(
    not (CASES / "depth").is_dir(), reason="needs the inputs of ../shared/cases"
)


@pytest.mark.parametrize("folder", ["depth", "pred_elongated"])
def test_every_picture_of_a_folder_is_predicted_or_named(
    scb_d2, untrained_run: Path, tmp_path: Path, folder: str
) -> None:
    config, output = untrained_run / "config.yaml", tmp_path / "out"
    done = scb_d2("predict", "--config-file", config, "--output", output, CASES / folder)
    pictures = {path.name for path in (CASES / folder).iterdir() if path.suffix != ".json"}
    written = output / "predictions.json"
    results = json.loads(written.read_text()) if written.exists() else []
    predicted = {Path(result["file_name"]).name for result in results}
    named = {name for name in pictures if name in done.err}
    assert predicted | named == pictures
    assert not predicted & named
    assert bool(named) == bool(done.status)
    assert "Traceback" not in done.err
