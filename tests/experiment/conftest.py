"""Plans as files."""

import pytest
import yaml

from tests.experiment.scene import PLAN


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "base.yaml").write_text("SEED: 1\n")

    def write(**changes):
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump(PLAN | changes, sort_keys=False))
        return path

    return write
