"""Which folders and files of scores are accepted as teachers."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from bert_multilabel import from_backbone
from bert_multilabel.errors import DataError, MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.model.windows import Windows
from bert_multilabel.training.teachers import ROW, Reading, ScoreFile, read_teachers, teacher_digest

NAMES = ["gift", "price"]
ROWS = [{"scores": {"gift": 0.25, "price": 0.5}}, {"scores": {"price": 1, "gift": 0}}]


def examples(*ids):
    columns = {"text": ["a", "b"], **({"id": [*ids]} if ids else {}), ROW: [0, 1]}
    return Dataset.from_dict(columns)


@pytest.fixture
def score_file(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def save(*rows, text=None):
        path = tmp_path / "scores.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) if text is None else text)
        return path

    return save


def test_scores_are_read_by_name_and_in_the_order_of_the_rows(score_file):
    file = ScoreFile.of(score_file(*ROWS), NAMES, examples())
    rows = examples().select([1, 0])
    assert file.probabilities(rows)["scores"][:] == [[0, 1], [0.25, 0.5]]


def test_ids_of_either_side_alone_do_not_matter(score_file):
    path = score_file(*ROWS)
    assert ScoreFile.of(path, NAMES, examples(7, 8)).by_id is None
    path = score_file(*({"id": 9, **row} for row in ROWS))
    assert ScoreFile.of(path, NAMES, examples()).by_id is None


def test_with_ids_lines_may_be_in_another_order_and_more(score_file):
    lines = [{"id": 8, **ROWS[1]}, {"id": 9, **ROWS[1]}, {"id": 7, **ROWS[0]}]
    file = ScoreFile.of(score_file(*lines), NAMES, examples(7, 8))
    assert file.probabilities(examples(7, 8))["scores"][:] == [[0.25, 0.5], [0, 1]]


def test_ids_in_the_same_order_may_be_repeated(score_file):
    file = ScoreFile.of(score_file(*({"id": 7, **row} for row in ROWS)), NAMES, examples(7, 7))
    assert file.probabilities(examples(7, 7))["scores"][:] == [[0.25, 0.5], [0, 1]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:1], r"has 1 lines, but there are 2 training rows: write one line per row"),
        ([*ROWS, ROWS[0]], r"has 3 lines, but there are 2"),
        ([{"id": "x", **ROWS[0]}, {"id": "x", **ROWS[1]}], r"several lines with the id 'x': keep one"),
        ([{"id": "y", **ROWS[0]}, ROWS[1]], r": 1 of 2 lines have no id, but the others have one: write the id"),
        ([{"id": "x", **ROWS[0]}, {"id": "z", **ROWS[1]}], r"has no line for 1 of 2 training rows, .* id 'y'"),
        ([{"scores": {"gift": 0.5, "prise": 0.5}}], r"line 1 must have .* it lacks 'price'; it also has 'prise'"),
        ([ROWS[0], {"scores": {"gift": 0.5}}], r"line 2 must have .* without --top_scores: it lacks 'price'"),
        ([{"labels": ["gift"]}], r"line 1 has no scores .*must be like"),
        ([["gift"]], r"line 1 has no scores"),
        ([{"scores": {"gift": "0.5", "price": 0.5}}], r"line 1: '0.5' of 'gift' is no probability"),
        ([{"scores": {"gift": True, "price": 0.5}}], r"line 1: True of 'gift' is no probability"),
        ([ROWS[0], {"scores": {"gift": 0.5, "price": 1.5}}], r"line 2: 1.5 of 'price' is no probability"),
        ([{"scores": {"gift": 10**400, "price": 0}}], r"line 1: 1000.* of 'gift' is no probability"),
        ([{"scores": {"gift": float("nan"), "price": 0}}], r"line 1: nan of 'gift' is no probability"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(score_file, rows, message):
    path = score_file(*rows)
    with pytest.raises(DataError, match=f"--teacher {path}.*{message}"):
        ScoreFile.of(path, NAMES, examples("x", "y"))


@pytest.mark.parametrize("text", ["{", '{"scores": {"gift": 0.5', "[" * 100_000, "\xff"])
def test_a_file_of_something_else_is_refused(score_file, text):
    path = score_file(text=text)
    with pytest.raises(DataError, match=r"line 1 is not JSON .*each line must be like"):
        ScoreFile.of(path, NAMES, examples())


def save_model(folder, backbone, names):
    model, tokenizer = from_backbone(backbone, names, "cls")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def teach(path, texts=("a", "b"), windows=None):
    rows = Dataset.from_dict({"text": [*texts]})
    [teacher] = read_teachers([str(path)], NAMES, rows, Reading("float32", torch.device("cpu"), windows))
    return teacher.probabilities(rows)["scores"][:]


def test_long_texts_are_read_in_windows_if_the_student_does(backbone, tmp_path):
    path, texts = save_model(tmp_path / "model", backbone, NAMES), ["price", "price is not good " * 30 + "gift"]
    model, tokenizer = load_trained(path)
    found = []
    for windows in (None, Windows(4)):
        logits = MultiLabelScorer(model, tokenizer).logits(texts, windows=windows)
        found.append(teach(path, texts, windows))
        torch.testing.assert_close(torch.tensor(found[-1]), logits.sigmoid())
    assert abs(found[0][1][0] - found[1][1][0]) > 1e-3  # the same text, whole and cut off


def test_a_teacher_that_has_diverged_is_refused(backbone, tmp_path):
    model, tokenizer = from_backbone(backbone, NAMES, "cls")
    torch.nn.init.constant_(model.label_bias[:1], torch.nan)
    for one in (model, tokenizer):
        one.save_pretrained(tmp_path / "model")
    with pytest.raises(MultiLabelError, match=r"model, text 1: its logits are not numbers"):
        teach(tmp_path / "model")


def test_a_teacher_whose_windows_are_too_short_is_named(backbone, tmp_path):
    path = save_model(tmp_path / "model", backbone, NAMES)
    with pytest.raises(MultiLabelError, match=rf"^--teacher {path}: stride=62 must be less than 62"):
        teach(path, windows=Windows(62))


def test_a_model_of_other_labels_is_refused_and_the_difference_named(backbone, tmp_path):
    path = save_model(tmp_path / "model", backbone, ["price", "quality"])
    with pytest.raises(MultiLabelError, match=r"trained with other labels: it lacks 'gift'; it also has 'quality'"):
        teach(path)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_model_is_loaded_safely_or_not_at_all(backbone, tmp_path):
    path = save_model(tmp_path / "model", backbone, NAMES)
    ran = tmp_path / "ran"
    weights = path / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    (path / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(ran)))
    with pytest.raises(MultiLabelError, match="are a pickle"):
        teach(path)
    weights.write_bytes(content[:-100])
    with pytest.raises(MultiLabelError, match="is damaged"):
        teach(path)
    weights.write_bytes(content)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoConfig": "../evil.Config"}}))
    with pytest.raises(MultiLabelError, match="points outside the directory"):
        teach(path)
    assert not ran.exists()


def test_a_teacher_is_known_by_its_content(backbone, tmp_path):
    paths = [save_model(tmp_path / name, backbone, NAMES) for name in ("one", "two")]
    first, second = map(teacher_digest, map(str, paths))
    assert first == second
    weights = (paths[1] / "model.safetensors").read_bytes()
    (paths[1] / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert teacher_digest(str(paths[1])) != first
