import json

import pytest

from bert_multilabel.prediction import write_predictions


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.jsonl"
    write_predictions(path, iter([{"labels": ["é"]}]))
    assert path.read_text(encoding="utf-8") == '{"labels": ["é"]}\n'

    def broken():
        yield {"labels": []}
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_predictions(path, broken())
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [{"labels": ["é"]}]
