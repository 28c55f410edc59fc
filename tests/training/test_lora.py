import json

import pytest
import torch
from safetensors.torch import load_file

from bert_multilabel import from_backbone
from bert_multilabel.model.modeling_multilabel import MultiLabelPreTrainedModel
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.lora import add_adapters
from bert_multilabel.training.run import run
from bert_multilabel.training.trainer import MultiLabelTrainer
from tests.conftest import LABELS, mark_unfinished

STRATEGIES = {
    "cls": {"strategy": "cls"},
    "full": {"strategy": "label_tokens"},
    "isolated": {"strategy": "label_tokens", "label_attention": "isolated"},
    "late": {"strategy": "label_tokens", "label_attention": "isolated", "label_layers": 1},
}


# In the order of the labels that the training rows hold.
NAMES = sorted(LABELS)


def train(model, files, output_dir, **options):
    words = f"""--model_name_or_path {model} --train_file {files["train"]} --output_dir {output_dir} --do_train
        --validation_file {files["validation"]} --do_eval --use_cpu --disable_tqdm true
        --per_device_train_batch_size 8""".split()
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return run(parse_arguments(words))


@pytest.fixture(scope="module", params=list(STRATEGIES))
def trained(request, backbone, files, tmp_path_factory):
    """A run with adapters: its options, folder and results."""
    output_dir = tmp_path_factory.mktemp(request.param) / "out"
    options = STRATEGIES[request.param]
    results = train(
        backbone,
        files,
        output_dir,
        **options,
        lora_rank=4,
        learning_rate=3e-4,
        head_learning_rate=3e-2,
        num_train_epochs=15,
        save_strategy="no",
        eval_strategy="no",
    )
    return options, output_dir, results


def test_adapters_learn_what_is_in_the_words(trained):
    _, _, results = trained
    assert results["eval_hamming_score"] > 0.8


def test_the_folder_is_that_of_an_ordinary_run(trained, backbone, files, tmp_path):
    options, output_dir, _ = trained
    train(backbone, files, tmp_path / "out", **options, max_steps=1, save_strategy="no")
    assert {path.name for path in output_dir.iterdir()} == {path.name for path in (tmp_path / "out").iterdir()}
    ours, ordinary = (load_file(folder / "model.safetensors") for folder in (output_dir, tmp_path / "out"))
    assert list(ours) == list(ordinary)
    configs = [json.loads((folder / "config.json").read_text()) for folder in (output_dir, tmp_path / "out")]
    for config in configs:
        for tuned in ("threshold", "temperature", "decision"):
            config.pop(tuned, None)
    assert configs[0] == configs[1]


def test_what_has_no_adapter_and_is_not_new_stays_bit_for_bit(trained, backbone):
    options, output_dir, _ = trained
    options = dict(options)
    before = from_backbone(backbone, NAMES, options.pop("strategy"), **options)[0].state_dict()
    after = load_file(output_dir / "model.safetensors")
    config = json.loads((output_dir / "config.json").read_text())
    changed = {name for name, weights in after.items() if not torch.equal(weights, before[name])}
    linear = ("query.weight", "key.weight", "value.weight", "dense.weight")
    adapted = {name for name in before if name.startswith("bert.encoder.") and name.endswith(linear)}
    new = {name for name in before if name.startswith(MultiLabelPreTrainedModel.head_parameter_prefixes)}
    embeddings = "bert.embeddings.word_embeddings.weight"
    label_rows = config["label_token_ids"] if config["label_token_ids"] and not config["label_layers"] else []
    assert changed == adapted | new | ({embeddings} if label_rows else set())
    rows = (after[embeddings] != before[embeddings]).any(dim=1)  # (V,)
    assert rows.nonzero().flatten().tolist() == label_rows


@pytest.mark.parametrize("trained", ["full"], indirect=True)
def test_adapters_go_on_from_a_trained_folder(trained, files, tmp_path):
    _, output_dir, results = trained
    further = train(output_dir, files, tmp_path / "out", lora_rank=2, num_train_epochs=1, learning_rate=1e-5)
    assert further["eval_hamming_score"] == pytest.approx(results["eval_hamming_score"], abs=0.05)
    # Checkpoints hold the adapters beside the weights, so none of them is a model to start from.
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    with pytest.raises(ValueError, match="they lack bert.* a checkpoint of a run with --lora_rank"):
        train(checkpoint, files, tmp_path / "next")


@pytest.mark.parametrize("kind", ["cls", "full"])
def test_a_run_that_goes_on_ends_with_the_same_weights(backbone, files, tmp_path, kind):
    common = {**STRATEGIES[kind], "lora_rank": 4, "num_train_epochs": 3, "save_total_limit": 5, "learning_rate": 3e-3}
    train(backbone, files, tmp_path / "out", **common)
    whole = (tmp_path / "out" / "model.safetensors").read_bytes()
    mark_unfinished(tmp_path / "out")
    (tmp_path / "out" / "checkpoint-24" / "trainer_state.json").unlink()
    results = train(backbone, files, tmp_path / "out", **common)
    assert results["epoch"] == 3
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == whole


def test_merged_adapters_leave_the_logits_as_they_were(backbone):
    model, tokenizer = from_backbone(backbone, LABELS, "label_tokens")
    inputs = tokenizer("the price is good", return_tensors="pt")
    with torch.inference_mode():
        without = model(**inputs).logits
    adapters = add_adapters(model, 4)
    with torch.inference_mode():
        assert torch.equal(model(**inputs).logits, without)  # they begin at nothing
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 0.01 * torch.randn_like(parameter)
    dense = model.bert.encoder.layer[0].output.dense
    product = dense.lora_B["default"].weight @ dense.lora_A["default"].weight  # (H, I)
    expected = dense.weight.detach() + 512 / 4 * product.detach()
    with torch.inference_mode():
        before = model(**inputs).logits
    assert (before - without).abs().max() > 0.1
    adapters.merge_and_unload()
    torch.testing.assert_close(model.bert.encoder.layer[0].output.dense.weight.detach(), expected)
    with torch.inference_mode():
        torch.testing.assert_close(model(**inputs).logits, before, atol=1e-5, rtol=0)


def test_what_is_trained_has_the_learning_rate_of_its_part(backbone, tmp_path):
    model, _ = from_backbone(backbone, LABELS, "label_tokens")
    add_adapters(model, 4)
    args = parse_arguments(["--model_name_or_path", "x", "--output_dir", str(tmp_path), "--do_train"])[2]
    optimizer = MultiLabelTrainer(model=model, args=args).create_optimizer()
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(rates) == len(trained)
    for name, parameter in trained.items():
        expected = args.head_learning_rate if name.startswith("classifier.") else args.learning_rate
        assert rates[id(parameter)] == expected, name
    # Six linear layers in each of two layers, two matrices each; the label rows; the head.
    assert len(trained) == 6 * 2 * 2 + 1 + 6


@pytest.mark.parametrize("trained", ["full"], indirect=True)
def test_adapters_without_training_are_refused(trained, files, tmp_path):
    _, output_dir, _ = trained
    words = ["--model_name_or_path", str(output_dir), "--output_dir", str(tmp_path / "out"), "--lora_rank", "4"]
    with pytest.raises(ValueError, match="--lora_rank 4 is for training: add --do_train"):
        run(parse_arguments([*words, "--do_eval", "--validation_file", files["validation"]]))
