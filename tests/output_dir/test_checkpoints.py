import json

import pytest

from bert_multilabel import MultiLabelConfig
from bert_multilabel.output_dir.checkpoints import trained_pair_column


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
