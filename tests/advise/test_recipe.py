"""Findings about the training recipe, on settings worked out by hand."""

from __future__ import annotations

import pytest

from scb_d2.advise.recipe import advise_recipe
from tests.advise.scene import Settings, data, only, situation, squares, values


class TestRecipe:
    COUNTS = data(*[squares(1) for _ in range(100)])

    def test_frozen_normalisation_from_scratch(self):
        settings = Settings(weights="", norm="FrozenBN", freeze_at=2)
        finding = only(advise_recipe(situation(self.COUNTS, settings)))
        assert values(finding) == {"NORM": "BN", "FREEZE_AT": 0} and finding.concerns == 1
        for fine in ({"weights": "w.pth"}, {"norm": "GN"}):
            settings = Settings(**{"weights": "", "norm": "FrozenBN", "freeze_at": 2, **fine})
            assert not advise_recipe(situation(self.COUNTS, settings))

    def test_the_rate_of_16_images_for_2(self):
        settings = Settings(learning_rate=0.01, batch=2)
        finding = only(advise_recipe(situation(self.COUNTS, settings)))
        assert values(finding) == {"LEARNING_RATE": 0.0013} and "8 times" in finding.measured

    @pytest.mark.parametrize(
        "fine",
        [{"batch": 16}, {"clip_gradients": True}, {"fpn_norm": "GN"}, {"reference_world_size": 8}],
    )
    def test_rates_that_fit(self, fine):
        settings = Settings(**{"learning_rate": 0.01, "batch": 2, **fine})
        assert not advise_recipe(situation(self.COUNTS, settings))

    def test_a_schedule_of_two_epochs(self):
        """50 iterations of 4 for 100 images; 12 epochs are 300 iterations."""
        settings = Settings(batch=4, iterations=50, steps=[25, 40])
        finding = only(advise_recipe(situation(self.COUNTS, settings)))
        assert values(finding) == {"ITERATIONS": 300, "STEPS": [150, 240]}
        assert finding.concerns == pytest.approx(1 - 2 / 12)
        settings = Settings(batch=4, iterations=200, steps=[])
        assert not advise_recipe(situation(self.COUNTS, settings))

    def test_images_that_are_left_out_do_not_lengthen_an_epoch(self):
        counts = data(*[squares(1)] * 50, *[[]] * 50)
        settings = Settings(batch=4, iterations=200, filter_empty=True)
        assert not advise_recipe(situation(counts, settings))
        # 8 epochs of what is shown, 4 once the other half is: 12 epochs of all are 300 iterations.
        settings = Settings(batch=4, iterations=100, filter_empty=True)
        finding = only(advise_recipe(situation(counts, settings)))
        assert not finding.changes and finding.changes_together[0].value == 300
        settings = Settings(batch=4, iterations=100, filter_empty=False)
        assert only(advise_recipe(situation(counts, settings))).code == "schedule"
