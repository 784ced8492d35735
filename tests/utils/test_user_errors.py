from __future__ import annotations

import logging

import pytest
from torch.utils.data import DataLoader, Dataset

from scb_d2 import DataError
from scb_d2.data.mapper import ImageError
from scb_d2.utils.user_errors import hide_user_tracebacks, report_user_errors, user_sentence


class _Broken(Dataset):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise self.error


def _fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [DataError("a is b."), ImageError("a is b.")])
def test_only_the_sentence_is_printed(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_user_errors(lambda: _fail(error)) == 1
    assert capsys.readouterr().err == "a is b.\n"


@pytest.mark.parametrize("error", [DataError("a is b."), ImageError("a is b.")])
def test_a_sentence_survives_a_data_loading_process(error: Exception) -> None:
    with pytest.raises(DataError) as raised:
        next(iter(DataLoader(_Broken(error), num_workers=1)))
    assert user_sentence(raised.value) == "a is b."


@pytest.mark.parametrize("name", ["errors.DataError", "data.mapper.ImageError"])
def test_a_sentence_survives_a_spawned_process(name: str) -> None:
    text = f"-- Process 1 terminated with the following error:\nTraceback\n  f()\nscb_d2.{name}: a."
    assert user_sentence(RuntimeError(text)) == "a."


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):
        report_user_errors(lambda: _fail(ZeroDivisionError("x")))
    after = "scb_d2.errors.DataError: a.\nduring that\nZeroDivisionError: x"
    assert user_sentence(RuntimeError(after)) is None


def test_the_exit_status_is_the_commands() -> None:
    assert report_user_errors(lambda: None) == 0
    assert report_user_errors(lambda: 3) == 3


def test_the_training_loop_logs_no_traceback_of_a_user_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("detectron2.engine.train_loop")
    logging.getLogger("detectron2").propagate = True
    hide_user_tracebacks()
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:4711")
    dead = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    for error in (DataError("a."), lost, dead, ZeroDivisionError("b")):
        try:
            raise error
        except Exception:
            logger.exception("Exception during training:")
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
