"""A plan, and one who is told and says nothing."""

PLAN = {
    "config": "base.yaml",
    "output": "out",
    "seeds": [3, 1],
    "overrides": {"SOLVER.MAX_ITER": 5, "SOLVER.STEPS": []},
    "arms": {"stock": {"MODEL.SCB.ENABLED": False}, "scb": None},
    "num_gpus": 1,
}


def silent(line):
    pass
