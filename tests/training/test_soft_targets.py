"""What teachers say about the training rows, and how it is mixed with the labels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bert_multilabel import from_backbone
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.loading import load_trained
from bert_multilabel.model.scoring import MultiLabelScorer
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.losses import make_loss
from bert_multilabel.training.prepare import prepare_run
from bert_multilabel.training.soft_targets import soft_targets
from tests.conftest import LABELS, make_rows, mark_unfinished, save_checkpoint
from tests.training.test_run import read_jsonl, run_script


def save_teacher(folder, backbone, names=LABELS, strategy="cls", seed=0, **config):
    """Save a model whose probabilities differ from text to text, and from label to label."""
    torch.manual_seed(seed)
    model, tokenizer = from_backbone(backbone, names, strategy, temperature=2.0, **config)
    for name, weights in model.named_parameters():
        if name.startswith("classifier") or "label" in name:
            torch.nn.init.normal_(weights)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def teacher(backbone, tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher") / "model", backbone, [*reversed(LABELS)])


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Rows that say their number, and a file whose scores are that number: i, i + 100 and i + 200 thousandths."""
    folder = tmp_path_factory.mktemp("numbered")
    rows = [
        {"id": f"row-{i}", "text": " ".join(["price"] * (1 + i % 3) + [*str(i)]), "labels": LABELS[: i % 4]}
        for i in range(60)
    ]
    scores = [{name: (i + 100 * k) / 1000 for k, name in enumerate(sorted(LABELS))} for i in range(60)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "scores.jsonl").write_text("\n".join(json.dumps({"scores": line}) for line in scores))
    lines = [{"id": row["id"], "scores": line} for row, line in zip(rows, scores, strict=True)]
    (folder / "by_id.jsonl").write_text("\n".join(json.dumps(line) for line in reversed(lines)))
    return folder


def prepare(backbone, train_file, output_dir, *words, teachers):
    common = ["--model_name_or_path", str(backbone), "--train_file", str(train_file), "--output_dir", str(output_dir)]
    flags = ["--do_train", "--use_cpu", "--per_device_train_batch_size", "7", "--strategy", "cls"]
    return prepare_run(parse_arguments([*common, *flags, "--teacher", *map(str, teachers), *map(str, words)]))


def probabilities_of(teacher, texts, pairs=None):
    """The probabilities of `sorted(LABELS)`, the order of the labels in training."""
    model, tokenizer = load_trained(teacher)
    probabilities = (MultiLabelScorer(model, tokenizer).logits(texts, pairs) / 2).sigmoid()
    return probabilities[:, [model.config.label_names.index(name) for name in sorted(LABELS)]].numpy()


def test_soft_targets_mix_labels_and_probabilities():
    labels = np.array([[1, 0, np.nan]], np.float32)
    probabilities = np.array([[0.2, 0.4, 0.6]], np.float32)
    # 0.75 * 1 + 0.25 * 0.2; 0.75 * 0 + 0.25 * 0.4; what is not annotated is the teachers' alone.
    np.testing.assert_allclose(soft_targets(labels, probabilities, 0.25), [[0.8, 0.1, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(soft_targets(labels, probabilities, 0.0), [[1, 0, 0.6]], rtol=1e-6)


def test_binary_cross_entropy_of_the_mix_is_the_mix_of_both():
    targets = torch.from_numpy(soft_targets(np.array([[1.0, 0.0]]), np.array([[0.2, 0.4]]), 0.25))
    loss = make_loss("bce")(torch.tensor([[np.log(3.0), 0.0]]), targets)
    # p is 0.75 and 0.5: -0.8 log 0.75 - 0.2 log 0.25, and -log 0.5.
    np.testing.assert_allclose(loss, [[0.507405, 0.693147]], atol=1e-6)


@pytest.mark.parametrize("name", ["bce", "weighted_bce", "asymmetric"])
def test_linear_losses_of_the_mix_are_the_mix_of_the_losses(name):
    settings = {"pos_weight": torch.tensor([3.0, 0.5, 1.0])} if name == "weighted_bce" else {}
    loss, logits = make_loss(name, **settings), torch.tensor([[1.3, -0.2, 2.5], [-3.0, 0.4, 0.1]])
    labels, taught = torch.tensor([[1.0, 0, 1], [0, 0, 1]]), torch.tensor([[0.9, 0.3, 0.2], [0.1, 0.5, 0.7]])
    mixed = torch.from_numpy(soft_targets(labels.numpy(), taught.numpy(), 0.3))
    torch.testing.assert_close(loss(logits, mixed), 0.7 * loss(logits, labels) + 0.3 * loss(logits, taught))


@pytest.mark.parametrize("scores", ["scores.jsonl", "by_id.jsonl"])
@pytest.mark.parametrize("strategy", ["group_by_length", "random"])
def test_each_row_keeps_its_own_scores_in_every_batch(backbone, numbered, tmp_path, scores, strategy):
    words = ["--max_train_samples", 40, "--do_eval", "--teacher_weight", 1, "--train_sampling_strategy", strategy]
    prepared, trainer = prepare(backbone, numbered / "train.jsonl", tmp_path, *words, teachers=[numbered / scores])
    seen = []
    for batch in trainer.get_train_dataloader():
        for ids, targets in zip(batch["input_ids"], batch["labels"], strict=True):
            words = prepared.tokenizer.decode(ids, skip_special_tokens=True).split()
            seen.append(int("".join(word for word in words if word != "price")))
            torch.testing.assert_close(targets, torch.tensor([0.0, 0.1, 0.2]) + seen[-1] / 1000)
    assert len(seen) == len(set(seen)) == 40
    assert seen != sorted(seen)


def test_several_teachers_of_any_kind_are_averaged(backbone, teacher, numbered, tmp_path):
    other_backbone = save_checkpoint(tmp_path / "cased", "cased", hidden_size=16)
    others = [
        save_teacher(tmp_path / "isolated", other_backbone, LABELS, "label_tokens", 1, label_attention="isolated"),
        save_teacher(tmp_path / "full", backbone, [LABELS[1], LABELS[2], LABELS[0]], "label_tokens", 2),
    ]
    rows = read_jsonl(numbered / "train.jsonl")
    texts = [row["text"] for row in rows]
    labels = np.array([[name in row["labels"] for name in sorted(LABELS)] for row in rows])
    scores = np.array([[(i + 100 * k) / 1000 for k in range(3)] for i in range(60)])
    teachers = [teacher, *others, numbered / "scores.jsonl"]
    mean = np.mean([*(probabilities_of(path, texts) for path in teachers[:3]), scores], axis=0)
    words = ["--teacher_weight", 0.3]
    prepared, _ = prepare(backbone, numbered / "train.jsonl", tmp_path / "out", *words, teachers=teachers)
    np.testing.assert_allclose(prepared.encoded["train"]["labels"], 0.7 * labels + 0.3 * mean, atol=1e-6)
    assert np.ptp(mean, axis=0).min() > 0.05  # it matters which row a target belongs to


def test_scores_are_computed_again_if_the_teacher_has_changed(backbone, numbered, tmp_path, monkeypatch):
    path = save_teacher(tmp_path / "teacher", backbone)

    def targets(*words):
        prepared, _ = prepare(backbone, numbered / "train.jsonl", tmp_path / "out", *words, teachers=[path])
        return prepared.encoded["train"]["labels"][:]

    def is_loaded(*args):
        raise RuntimeError("the teacher was loaded")

    before = targets()
    with monkeypatch.context() as patch:
        patch.setattr("bert_multilabel.training.teachers.load_trained", is_loaded)
        assert targets() == before
        assert targets("--teacher_weight", 0.1) != before
        with pytest.raises(RuntimeError, match="the teacher was loaded"):
            targets("--predict_precision", "bfloat16")
    save_teacher(path, backbone, seed=1)
    assert targets() != before


def test_a_student_learns_what_its_teacher_says_about_unlabelled_texts(teacher, backbone, files, tmp_path):
    rows = read_jsonl(Path(files["train"]))
    texts = sorted({row["text"] for row in rows})
    (tmp_path / "few.jsonl").write_text(json.dumps({"text": "the price", "labels": LABELS}))
    (tmp_path / "more.jsonl").write_text("\n".join(json.dumps({"text": text, "labels": ["x"]}) for text in texts))
    results = run_script(
        model_name_or_path=backbone,
        train_file=tmp_path / "few.jsonl",
        unlabelled_file=tmp_path / "more.jsonl",
        teacher=teacher,
        teacher_weight=1.0,
        do_train=True,
        output_dir=tmp_path / "out",
        num_train_epochs=40,
        learning_rate=3e-3,
        save_strategy="no",
    )
    assert results["train_samples"] == len(texts) + 1
    model, tokenizer = load_trained(tmp_path / "out")
    model.config.temperature = 1.0
    learned = MultiLabelScorer(model, tokenizer).logits(texts).sigmoid().numpy()
    taught = probabilities_of(teacher, texts)
    spread = np.abs(taught - taught.mean(axis=0)).mean()
    assert np.abs(learned - taught).mean() < spread / 2


def test_a_resumed_run_ends_as_one_that_was_not_interrupted_and_needs_the_same_teachers(teacher, backbone, tmp_path):
    path = shutil.copytree(teacher, tmp_path / "teacher")
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(row) for row in make_rows(24)))
    common = {"model_name_or_path": backbone, "train_file": tmp_path / "train.jsonl", "do_train": True}
    common |= {"teacher": path, "unlabelled_file": tmp_path / "train.jsonl", "save_strategy": "steps", "save_steps": 2}
    common |= {"max_steps": 4, "per_device_train_batch_size": 8, "output_dir": tmp_path / "out"}
    run_script(**common)
    ends = [(tmp_path / "out" / "model.safetensors").read_bytes()]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "labels were mixed with the probabilities of a teacher, whose share was 0.5; 24 texts more" in card
    assert str(tmp_path) not in card

    mark_unfinished(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "checkpoint-4")
    save_teacher(path, backbone, seed=1)
    with pytest.raises(MultiLabelError, match=rf"the content of {path} has changed"):
        run_script(**common)
    with pytest.raises(MultiLabelError, match=r"teacher_weight was 0.5, now 0.25"):
        run_script(**common | {"teacher": teacher, "teacher_weight": 0.25})
    with pytest.raises(MultiLabelError, match=r"predict_precision was 'float32', now 'bfloat16'"):
        run_script(**common | {"teacher": teacher, "predict_precision": "bfloat16"})
    run_script(**common | {"teacher": teacher})  # the same one in another place
    ends.append((tmp_path / "out" / "model.safetensors").read_bytes())
    assert ends[0] == ends[1]


def test_unlabelled_texts_count_as_examples_of_the_weight_1(teacher, backbone, numbered, tmp_path):
    rows = [{"text": f"gift {i}", "labels": LABELS, "weight": i / 2} for i in range(4)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["--weight_column", "weight", "--unlabelled_file", numbered / "train.jsonl", "--max_train_samples", 3]
    prepared, trainer = prepare(backbone, tmp_path / "train.jsonl", tmp_path / "out", *words, teachers=[teacher])
    train = prepared.encoded["train"]
    is_added = ["price" in prepared.tokenizer.decode(ids) for ids in train["input_ids"]]
    assert sum(is_added) == 60 and len(train) == 63 and not all(is_added[:60])
    added = [weight for weight, one in zip(train["weight"], is_added, strict=True) if one]
    assert set(added) == {1.0}


def test_options_of_teachers_are_checked(backbone, numbered, teacher, tmp_path):
    def refused(*words, match):
        common = ["--model_name_or_path", backbone, "--output_dir", tmp_path / "out", "--use_cpu"]
        common += ["--train_file", numbered / "train.jsonl"]
        with pytest.raises(MultiLabelError, match=match):
            prepare_run(parse_arguments([*map(str, [*common, *words])]))
        assert not (tmp_path / "out").exists()

    train, one, scores = ["--do_train"], ["--teacher", teacher], ["--teacher", numbered / "scores.jsonl"]
    texts = ["--unlabelled_file", numbered / "train.jsonl"]
    refused(*train, "--teacher_weight", 0.5, match=r"--teacher_weight 0.5 needs a --teacher")
    refused(*train, *one, "--teacher_weight", 1.5, match=r"--teacher_weight must be from 0 to 1, got 1.5")
    refused("--do_predict", *one, match=r"--teacher .* is for training: add --do_train")
    refused(*train, *one, "--streaming", match=r"--teacher scores stored examples, not those of --streaming")
    refused(*train, *texts, match=r"--unlabelled_file .*train.jsonl needs a --teacher to label it")
    refused(*train, *scores, *texts, match=r"needs a trained model .* holds scores of the training rows")
    refused(*train, "--teacher", tmp_path / "none", match=r"--teacher .*none: there is no such folder")
    refused(*train, "--teacher", backbone, match=r"--teacher .* was never trained on labels")
    refused(*train, "--teacher", numbered, match=r"--teacher .* is not the folder .*: config.json is missing")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"text": "price", "text_pair": "gift", "labels": LABELS}))
    refused(*train, *one, *texts, "--train_file", pairs, match=r"train.jsonl has no column 'text_pair'")
    same = ["--teacher", teacher, "--output_dir", teacher, "--overwrite_output_dir"]
    refused(*train, *same, match=r"--output_dir .* is also a --teacher: choose another folder")
