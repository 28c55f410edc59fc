import math
from importlib import import_module

import pytest
import torch
from datasets import Dataset
from torch.nn.parallel.replicate import replicate
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bert_multilabel import compute_metrics, from_backbone, hamming_score
from bert_multilabel.data.label_frequencies import LabelFrequencies
from bert_multilabel.data.tokenizing import Collator, encode_rows
from bert_multilabel.model.modeling_multilabel import multi_label_loss
from bert_multilabel.model.scoring import scoring_tokenizer
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.cpu import CheapDropout, attention_forward
from bert_multilabel.training.losses import make_loss, positive_weights
from bert_multilabel.training.trainer import EpochSeededLengthSampler, MultiLabelTrainer
from tests.conftest import LABELS, make_rows

# Eight rows, of which a step of one batch and one of several are made; the first half is hardly annotated.
PARTLY = [
    [1.0, math.nan, math.nan],
    [math.nan, math.nan, math.nan],
    [-100.0, 0.0, math.nan],
    [0.3, math.nan, math.nan],
    [1.0, 0.0, 0.0],
    [0.0, 0.0, 1.0],
    [0.0, 1.0, 1.0],
    [0.0, 0.7, math.nan],
]
LOSS_WORDS = {
    "bce": "",
    "weighted_bce": "--loss weighted_bce --max_pos_weight 5 --label_correlation 0.25",
    "focal": "--loss focal --focal_gamma 1",
    "zlpr": "--loss zlpr",
}


FORMS = {
    "cls": ("cls", {}),
    "full": ("label_tokens", {}),
    "full-1": ("label_tokens", {"label_layers": 1}),
    "isolated": ("label_tokens", {"label_attention": "isolated"}),
    "isolated-1": ("label_tokens", {"label_attention": "isolated", "label_layers": 1}),
}


def partly_annotated_rows(tokenizer, labels=PARTLY):
    texts = ["price", "too expensive", "good", "gift to buy", "not good", "is", "quality", "wants a gift"]
    return encode_rows(Dataset.from_dict({"text": texts[: len(labels)], "labels": labels}), tokenizer)


def make_trainer(backbone, folder, words, labels=PARTLY, form="cls", **more):
    """A trainer with plain gradient descent and no dropout on examples that are partly annotated."""
    options = f"""--model_name_or_path x --output_dir {folder} --do_train --use_cpu --disable_tqdm true --optim sgd
        --save_strategy no --max_grad_norm 0 --lr_scheduler_type constant --warmup_steps 0 --weight_decay 0
        --learning_rate 0.5 --head_learning_rate 0.5 {words}"""
    torch.manual_seed(0)
    strategy, config = FORMS[form]
    model, tokenizer = from_backbone(
        backbone, LABELS, strategy, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **config
    )
    reader = scoring_tokenizer(tokenizer, model.config)
    return MultiLabelTrainer(
        model=model,
        args=parse_arguments(options.split())[2],
        train_dataset=partly_annotated_rows(reader, labels),
        data_collator=Collator(reader),
        **more,
    )


def test_the_data_seed_decides_on_the_order(backbone, tmp_path):
    def order(words):
        trainer = make_trainer(backbone, tmp_path, f"--per_device_train_batch_size 1 {words}")
        return [batch["input_ids"].tolist() for batch in trainer.get_train_dataloader()]

    assert order("--seed 1 --data_seed 7") == order("--seed 2 --data_seed 7") != order("--seed 1 --data_seed 8")
    assert order("--seed 1") == order("--seed 2 --data_seed 1") != order("--seed 2")


@pytest.mark.parametrize("resumed", [False, True])
def test_each_epoch_reads_other_windows(backbone, tmp_path, resumed):
    words = (
        "--stride 0 --num_train_epochs 3 --per_device_train_batch_size 3 --save_strategy epoch --save_total_limit 3"
    )
    _, reader = from_backbone(backbone, LABELS, "cls")
    rows = Dataset.from_dict({"text": ["a b c d", "k l m n", "good"], "labels": PARTLY[:3]})
    epochs = []

    def train(checkpoint=None):
        trainer = make_trainer(backbone, tmp_path, words)
        trainer.train_dataset = encode_rows(rows, reader, 4, trainer.args.windows)
        trainer.data_collator = Collator(reader, 4, trainer.args.windows)
        trainer.training_step = lambda model, inputs, *args: (
            epochs.append(sorted(reader.batch_decode(inputs["input_ids"], skip_special_tokens=True))),
            MultiLabelTrainer.training_step(trainer, model, inputs, *args),
        )[1]
        trainer.train(checkpoint)

    train()
    if resumed:
        del epochs[1:]
        train(str(tmp_path / "checkpoint-1"))
    assert epochs[0] == epochs[2] != epochs[1]
    for one, two in zip(epochs[0], epochs[1], strict=True):
        assert {one, two} in ({"a b", "c d"}, {"k l", "m n"}, {"good"})


@pytest.mark.parametrize("loader", ["get_eval_dataloader", "get_test_dataloader"])
def test_an_evaluation_has_the_order_of_its_examples(backbone, tmp_path, loader):
    trainer = make_trainer(backbone, tmp_path, "--per_device_eval_batch_size 3")
    batches = getattr(trainer, loader)(trainer.train_dataset)
    torch.testing.assert_close(torch.cat([batch["labels"] for batch in batches]), torch.tensor(PARTLY), equal_nan=True)


def test_an_evaluation_has_all_rows_also_where_training_leaves_some_out(backbone, tmp_path):
    words = "--dataloader_drop_last true --per_device_train_batch_size 3 --per_device_eval_batch_size 3"
    trainer = make_trainer(backbone, tmp_path, words)
    assert [
        sum(len(batch["labels"]) for batch in loader)
        for loader in (trainer.get_train_dataloader(), trainer.get_eval_dataloader(trainer.train_dataset))
    ] == [6, 8]


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


def test_on_a_cpu_steps_are_the_fast_ones_also_of_a_model_made_late(backbone, tmp_path):
    words = f"--model_name_or_path x --output_dir {tmp_path} --do_train --use_cpu --max_steps 1 --save_strategy no"
    args = parse_arguments([*words.split(), "--disable_tqdm", "true"])[2]
    _, tokenizer = from_backbone(backbone, LABELS, "cls")
    rows = encode_rows(Dataset.from_list([{"text": "good", "labels": [1.0, 0.0, 1.0]}] * 4), tokenizer)
    seen = []

    class Watched(MultiLabelTrainer):
        def training_step(self, model, *rest, **more):
            seen.append((ALL_ATTENTION_FUNCTIONS["sdpa"], type(model.classifier.dropout)))
            return super().training_step(model, *rest, **more)

    collator = Collator(tokenizer)
    for given in (
        {"model": from_backbone(backbone, LABELS, "cls")[0]},
        {"model_init": lambda: from_backbone(backbone, LABELS, "cls")[0]},
    ):
        Watched(**given, args=args, train_dataset=rows, data_collator=collator).train()
    assert seen == [(attention_forward, CheapDropout)] * 2


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


def loss_by_hand(name, logits):
    """The loss of all rows at once, over all that is annotated."""
    labels = torch.tensor(PARTLY)
    loss = {
        "bce": make_loss("bce"),
        "weighted_bce": make_loss(
            "weighted_bce", 0.25, pos_weight=positive_weights(LabelFrequencies.of([PARTLY]), 5.0)
        ),
        "focal": make_loss("focal", gamma=1.0),
        "zlpr": make_loss("zlpr"),
    }[name]
    return loss(logits, labels).sum() / (~labels.isnan() & (labels != -100)).sum()


@pytest.mark.parametrize(
    ("loss", "rows", "accumulation"),
    [
        *((loss, 2, 4) for loss in LOSS_WORDS),
        ("weighted_bce", 8, 1),
        ("weighted_bce", 3, 3),  # 3, 3 and 2 rows
    ],
)
def test_a_step_is_that_of_all_its_rows_however_they_are_dealt_out(backbone, tmp_path, loss, rows, accumulation):
    dealt = f"--per_device_train_batch_size {rows} --gradient_accumulation_steps {accumulation} --max_steps 1"
    trainer = make_trainer(backbone, tmp_path, f"{LOSS_WORDS[loss]} {dealt}")
    check_step(trainer, loss)


class Broadcast(torch.autograd.Function):
    """What a parameter is in a replica: a copy that is no parameter."""

    @staticmethod
    def forward(context, parameter):
        return parameter.view_as(parameter)

    @staticmethod
    def backward(context, gradient):
        return gradient


class TwoDevices(torch.nn.Module):
    """`DataParallel` with the CPU in the role of two devices: half of the batch each, in replicas made by torch."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, **inputs):
        chunks = {name: values.chunk(2) for name, values in inputs.items()}
        outputs = [
            replica(**{name: values[number] for name, values in chunks.items()})
            for number, replica in enumerate(replicate(self.module, [0, 1]))
        ]
        return type(outputs[0])(logits=torch.cat([output.logits for output in outputs]))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="Trainer would put the batch on the accelerator")
@pytest.mark.parametrize("form", FORMS)
def test_a_step_on_several_devices_is_that_of_one(backbone, tmp_path, monkeypatch, form):
    monkeypatch.setattr(
        import_module("torch.nn.parallel.replicate"),
        "_broadcast_coalesced_reshape",
        lambda tensors, devices, detach=False: [[Broadcast.apply(tensor) for tensor in tensors] for _ in devices],
    )
    monkeypatch.setattr("torch.nn.DataParallel", TwoDevices)
    dealt = "--per_device_train_batch_size 4 --gradient_accumulation_steps 2 --max_steps 1"
    trainer = make_trainer(backbone, tmp_path, f"{LOSS_WORDS['weighted_bce']} {dealt}", form=form)
    trainer.args._n_gpu = 2  # the size of batches is already decided
    check_step(trainer, "weighted_bce")
    assert isinstance(trainer.model_wrapped, TwoDevices)


def check_step(trainer, loss):
    """Train for a step and compare it with one computed from the loss of all examples at once."""
    model = trainer.model
    batch = trainer.data_collator(list(trainer.train_dataset))
    expected_loss = loss_by_hand(loss, model(batch["input_ids"], batch["attention_mask"]).logits)
    parameters = dict(model.named_parameters())
    gradients = dict(zip(parameters, torch.autograd.grad(expected_loss, list(parameters.values())), strict=True))
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    trained = trainer.train()
    for name, parameter in parameters.items():
        torch.testing.assert_close(before[name] - parameter, 0.5 * gradients[name], atol=1e-6, rtol=1e-3, msg=name)
    if trainer.args.n_gpu <= 1:  # else Trainer reports the loss times the number of devices
        assert trained.training_loss == pytest.approx(expected_loss.item(), rel=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("form", FORMS)
def test_a_model_trains_in_bfloat16_on_a_gpu(backbone, tmp_path, form):
    words = "--bf16 true --max_steps 20 --per_device_train_batch_size 8 --learning_rate 0.05 --head_learning_rate 0.05"
    trainer = make_trainer(backbone, tmp_path, f"--use_cpu false {words}", form=form)
    assert trainer.args.device.type == "cuda"
    before = trainer.evaluate(trainer.train_dataset)["eval_loss"]
    trainer.train()
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] < before
    assert all(weights.dtype == torch.float32 for weights in trainer.model.parameters())


def test_a_step_without_annotations_changes_nothing(backbone, tmp_path):
    trainer = make_trainer(backbone, tmp_path, "--loss zlpr --max_steps 1", [[math.nan, -100.0, math.nan]] * 8)
    before = {name: weights.clone() for name, weights in trainer.model.state_dict().items()}
    assert trainer.train().training_loss == 0
    assert all(torch.equal(weights, before[name]) for name, weights in trainer.model.state_dict().items())


def test_evaluation_is_by_the_loss_of_the_model_and_training_does_without_it(backbone, tmp_path, monkeypatch):
    trainer = make_trainer(backbone, tmp_path, "--loss zlpr --max_steps 1 --per_device_eval_batch_size 8")
    with monkeypatch.context() as patched:
        patched.delattr("bert_multilabel.model.modeling_multilabel.multi_label_loss")
        trainer.train()
    evaluated = trainer.evaluate(trainer.train_dataset)["eval_loss"]
    batch = trainer.data_collator(list(trainer.train_dataset))
    assert evaluated == pytest.approx(trainer.model.eval()(**batch).loss.item(), rel=1e-5)


def test_a_loss_of_ones_own_is_given_the_count_of_what_is_annotated(backbone, tmp_path):
    counts = []

    def own(outputs, labels, num_items_in_batch):
        counts.append(int(num_items_in_batch))
        return outputs.logits.sum()

    words = "--per_device_train_batch_size 4 --gradient_accumulation_steps 2 --max_steps 1"
    make_trainer(backbone, tmp_path, words, compute_loss_func=own).train()
    assert counts == [14, 14]
