"""What is known of a cell without a result is kept and read back, or said to be damaged."""

import math

import pytest

from pam import failures
from pam.errors import ResultsError

FAILURE = failures.Failure(
    cell={"id": "0123abcd", "label": "unet – 3×3"},
    kind=failures.FAILED,
    epoch=3,
    message="RuntimeError: no",
    traceback='File "a.py", line 3\nRuntimeError: no',
    metrics={"loss": 0.25, "seconds": 1.5},
)


def test_what_is_read_is_what_was_written():
    failures.write(FAILURE)
    assert failures.read("0123abcd") == FAILURE


def test_a_metric_that_is_not_finite_is_left_out_of_the_record_which_stays_json():
    failures.write(failures.Failure(**{**vars(FAILURE), "metrics": {"loss": math.nan, "seconds": 1.5}}))
    read = failures.read("0123abcd")
    assert read is not None
    assert read.metrics == {"seconds": 1.5}
    assert "NaN" not in failures.path_of("0123abcd").read_text()


def test_a_cell_without_a_record_has_none_and_forgetting_it_is_no_error():
    assert failures.read("0123abcd") is None
    failures.forget("0123abcd")
    failures.write(FAILURE)
    failures.forget("0123abcd")
    assert failures.read("0123abcd") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "failed"}'])
def test_a_damaged_record_is_an_error_that_names_the_file(text):
    failures.path_of("0123abcd").parent.mkdir(parents=True)
    failures.path_of("0123abcd").write_text(text)
    with pytest.raises(ResultsError, match=r"0123abcd\.json: not a failure's record .*; delete it"):
        failures.read("0123abcd")
