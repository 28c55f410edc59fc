import pytest
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from bert_multilabel import compute_metrics, from_backbone, hamming_score
from bert_multilabel.arguments import parse_arguments
from bert_multilabel.encoding import Collator, encode_rows
from bert_multilabel.modeling_multilabel import multi_label_loss
from bert_multilabel.trainer import EpochSeededLengthSampler, MultiLabelTrainer

from .conftest import LABELS, make_rows


def test_the_head_has_its_own_learning_rate(backbone, tmp_path):
    model, _ = from_backbone(backbone, LABELS, "cls")
    args = parse_arguments(
        ["--model_name_or_path", "x", "--output_dir", str(tmp_path), "--do_train", "--learning_rate", "1e-5"]
    )[2]
    optimizer = MultiLabelTrainer(model=model, args=args).create_optimizer()
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(2e-4 if name.startswith("classifier.") else 1e-5), name
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays[id(model.classifier.dense.weight)] == 0.01
    assert decays[id(model.classifier.dense.bias)] == 0.0


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone():
    lengths = [(7 * number) % 40 for number in range(200)]

    def order(seed, epoch):
        torch.rand(3)  # the global generator is somewhere else each time
        sampler = EpochSeededLengthSampler(8, lengths, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert sorted(order(1, 2)) == list(range(200))


@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
@pytest.mark.parametrize("with_mask", [True, False])
def test_a_plain_trainer_trains_and_evaluates(backbone, tmp_path, strategy, with_mask):
    model, tokenizer = from_backbone(backbone, LABELS, strategy)
    rows = list(make_rows(16))
    labels = [[float(name in row["labels"]) for name in LABELS] for row in rows]
    data = Dataset.from_dict({"text": [row["text"] for row in rows], "labels": labels})
    if with_mask:  # as anyone would: the tokenizer's output goes in as it is
        data = data.map(lambda batch: tokenizer(batch["text"]), batched=True, remove_columns=["text"])
    else:
        data = encode_rows(data, tokenizer)
    arguments = {} if with_mask else {"label_names": ["labels"]}
    args = TrainingArguments(
        str(tmp_path), num_train_epochs=1, use_cpu=True, disable_tqdm=True, save_strategy="no", **arguments
    )
    trainer = Trainer(
        model=model,
        args=args,
        train_dataset=data,
        eval_dataset=data,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
    )
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(weights, before[name]) for name, weights in model.state_dict().items())
    metrics = trainer.evaluate()
    with torch.inference_mode():
        logits = model.eval()(**tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")).logits
    assert metrics["eval_hamming_score"] == pytest.approx(hamming_score(logits >= 0, labels))
    assert metrics["eval_loss"] == pytest.approx(float(multi_label_loss(logits, torch.tensor(labels))), abs=1e-4)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_accumulated_gradients_are_those_of_the_whole_batch(backbone, tmp_path, accumulation):
    model, tokenizer = from_backbone(
        backbone, LABELS, "cls", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    rows = Dataset.from_list([{"text": "good", "labels": [1.0, 0.0, 1.0]}] * 8)
    args = TrainingArguments(
        str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
        optim="sgd",
        learning_rate=1.0,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        label_names=["labels"],
    )
    data = encode_rows(rows, tokenizer)
    before = model.classifier.out_proj.weight.detach().clone()
    inputs = tokenizer(list(rows["text"]), padding=True, return_tensors="pt")
    (expected,) = torch.autograd.grad(
        model(**inputs, labels=torch.tensor(list(rows["labels"]))).loss, model.classifier.out_proj.weight
    )
    Trainer(model=model, args=args, train_dataset=data, data_collator=DataCollatorWithPadding(tokenizer)).train()
    torch.testing.assert_close(before - model.classifier.out_proj.weight, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("max_grad_norm", [0.01, 100.0])
def test_gradients_are_clipped_as_trainer_does_it(backbone, tmp_path, max_grad_norm):
    words = f"--model_name_or_path x --output_dir {tmp_path} --do_train --use_cpu --max_grad_norm {max_grad_norm}"
    args = parse_arguments(words.split())[2]
    results = []
    for trainer_class in (Trainer, MultiLabelTrainer):
        torch.manual_seed(0)
        model, tokenizer = from_backbone(backbone, LABELS, "cls")
        model(**tokenizer("good", return_tensors="pt"), labels=torch.ones(1, 3)).loss.backward()
        norm = trainer_class(model=model, args=args)._clip_grad_norm(model)
        results.append((norm, [parameter.grad for parameter in model.parameters()]))
    torch.testing.assert_close(results[1], results[0])
    assert 0.01 < results[0][0] < 100


def test_on_a_cpu_steps_are_the_fast_ones_also_of_a_model_made_late(backbone, tmp_path):
    words = f"--model_name_or_path x --output_dir {tmp_path} --do_train --use_cpu --max_steps 1 --save_strategy no"
    args = parse_arguments([*words.split(), "--disable_tqdm", "true"])[2]
    _, tokenizer = from_backbone(backbone, LABELS, "cls")
    rows = encode_rows(Dataset.from_list([{"text": "good", "labels": [1.0, 0.0, 1.0]}] * 4), tokenizer)
    seen = []

    class Watched(MultiLabelTrainer):
        def training_step(self, model, *rest, **more):
            seen.append((model.config._attn_implementation, type(model.classifier.dropout).__name__))
            return super().training_step(model, *rest, **more)

    collator = Collator(tokenizer.pad_token_id)
    for given in (
        {"model": from_backbone(backbone, LABELS, "cls")[0]},
        {"model_init": lambda: from_backbone(backbone, LABELS, "cls")[0]},
    ):
        Watched(**given, args=args, train_dataset=rows, data_collator=collator).train()
    assert seen == [("bert_multilabel_training", "CheapDropout")] * 2


def test_label_embeddings_learn_as_fast_as_the_head(backbone, tmp_path):
    model, _ = from_backbone(backbone, LABELS, "label_tokens", label_layers=1)
    args = parse_arguments(["--model_name_or_path", "x", "--output_dir", str(tmp_path), "--do_train"])[2]
    optimizer = MultiLabelTrainer(model=model, args=args).create_optimizer()
    (rate,) = [
        group["lr"]
        for group in optimizer.param_groups
        if any(parameter is model.label_embeddings.weight for parameter in group["params"])
    ]
    assert rate == args.head_learning_rate
