import json

import pytest
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import sort_checkpoints

from bert_multilabel import MultiLabelConfig
from bert_multilabel.output_dir.checkpoints import (
    TRAINER_STATE_FILE,
    TRAINING_ARGS_FILE,
    list_checkpoints,
    trained_pair_column,
)


@pytest.mark.parametrize(
    ("on_pairs", "column", "expected"),
    [
        (True, "product", "product"),
        (True, None, None),  # pushed or saved again: the record of the run is not there
        (True, "", None),  # of another run
        (False, "product", ""),
        (False, None, ""),
        (None, "product", "product"),  # trained by an earlier version
        (None, "", ""),
        (None, None, None),
    ],
)
def test_the_configuration_says_whether_there_were_pairs_and_the_run_which_column(
    tmp_path, on_pairs, column, expected
):
    MultiLabelConfig(label_names=["gift"], trained_on_pairs=on_pairs).save_pretrained(tmp_path)
    if column is not None:
        run = {"finished": True, "arguments": {"text_pair_column": column}}
        (tmp_path / "training_run.json").write_text(json.dumps(run))
    assert trained_pair_column(tmp_path) == expected
    assert trained_pair_column(tmp_path / "nowhere") is None


def test_checkpoints_are_those_of_trainer(tmp_path):
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-100", "checkpoint-x", "other-3"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-5").write_text("a file")
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10", "checkpoint-100"]
    assert list(map(str, list_checkpoints(tmp_path))) == sort_checkpoints(str(tmp_path))
    assert list_checkpoints(tmp_path / "nowhere") == []
    assert (TRAINER_STATE_FILE, TRAINING_ARGS_FILE) == (TRAINER_STATE_NAME, TRAINING_ARGS_NAME)
