"""What to do and how to train: options of ours, and those of Trainer that people set most."""

from argparse import SUPPRESS
from dataclasses import dataclass

from bert_multilabel.data.spec import SHUFFLE_BUFFER
from bert_multilabel.engines.choice import ENGINE, ENGINES
from bert_multilabel.model.choices import POOLINGS, PRECISIONS
from bert_multilabel.utils.option_parser import document_fields, option

LOSSES = ("bce", "weighted_bce", "focal", "asymmetric", "zlpr")
POOLING = (  # help text, also of the commands that evaluate
    "With --stride: the probability of a label, before calibration, is the max or mean over windows. Default: max."
)
_INTERVALS = ("no", "steps", "epoch")


@document_fields
@dataclass(kw_only=True)
class TrainingOptions:
    """What to do, how to train, and what to write."""

    # What to do
    do_train: bool = option("Fine-tune the model.", False)
    do_eval: bool = option("Evaluate on validation data, and fit the decisions to it.", False)
    do_predict: bool = option("Predict the test data.", False)
    output_dir: str | None = option("Where the model and its results go.")
    overwrite_output_dir: bool = option("Replace the run that the output folder holds, and its checkpoints.", False)
    resume_from_checkpoint: str | None = option(
        "Checkpoint of another folder to go on from. The same command resumes a run by itself."
    )
    seed: int = option("Seed of everything that is random.", 42)
    report: bool = option(
        "Write report.html and report.json after --do_eval; both contain texts of the validation data.", False
    )

    # Training
    num_train_epochs: float = option("How often to go through the training data.", 3.0)
    max_steps: int = option("Train for this many steps, whatever --num_train_epochs says. -1: no limit.", -1)
    per_device_train_batch_size: int = option("Examples per device and training step.", 32)
    per_device_eval_batch_size: int = option("Examples per device and evaluation step.", 64)
    gradient_accumulation_steps: int = option("Batches per training step.", 1)
    learning_rate: float = option("Peak learning rate of the encoder.", 1e-4)
    head_learning_rate: float | None = option("Learning rate of the head. Default: 20 times --learning_rate.")
    weight_decay: float = option("Weight decay of matrices.", 0.01)
    warmup_steps: float = option("Warm-up in steps, or below 1 as a share of all training steps.", 0.1)
    train_sampling_strategy: str = option(
        "Order of the training examples.", "group_by_length", choices=("group_by_length", "random", "sequential")
    )
    streaming: bool = option(
        "Read and tokenize the training examples again in each epoch instead of storing them on disk; each is drawn "
        f"from the next {SHUFFLE_BUFFER:,}. All are checked before training.",
        False,
    )
    bf16: bool = option("Compute matrix products in bfloat16: faster where the hardware has it.", False)
    use_cpu: bool = option("Use the CPU even if there is an accelerator.", False)
    hyperparameter_search: int | None = option(
        "Try this many sets of learning rates, warm-up, weight decay, batch size and epochs around those of the "
        "options, and train with the best by --metric_for_best_model. Default: no search."
    )

    # Loss
    loss: str = option(
        "What training minimizes: binary cross entropy, alone or with rare labels weighted up; focal or asymmetric "
        "loss, which put less weight on easy examples; zlpr, which ranks. Evaluation reports bce.",
        "bce",
        choices=LOSSES,
    )
    focal_gamma: float | None = option("How much less --loss focal weights easy examples, from 0. Default: 2.")
    max_pos_weight: float | None = option(
        "--loss weighted_bce weights the positives of a label by its negatives per positive, at most by this number, "
        "and at least by its inverse. Default: 10."
    )
    label_weights: str | None = option(
        "Weights of labels in the loss, numbers from 0 up, 1 for those that are missing: a JSON object from name to "
        "weight, or a csv, tsv or jsonl with the columns label and weight. Default: all weigh the same."
    )
    label_correlation: float = option("Weight, below 1, of the loss that compares positive with other labels.", 0.0)
    weight_averaging: float = option(
        "Decay, such as 0.999, of a moving average of the weights over the steps, which is evaluated and saved where "
        "it scores better than the weights. 0: no average.",
        0.0,
    )
    teacher: list[str] | None = option(
        "Folders of trained models with the same labels, and files of scores for the training rows in the form of "
        "predictions.jsonl: their probabilities become part of the labels to train on."
    )
    teacher_weight: float | None = option(
        "Share of the teachers in the labels to train on, from 0 to 1; what is not annotated they decide alone. "
        "Default: 0.5."
    )

    # Evaluations and checkpoints
    eval_strategy: str = option("When to evaluate during training; only with --do_eval.", "epoch", choices=_INTERVALS)
    eval_steps: float | None = option("Steps between evaluations, with --eval_strategy steps.")
    save_strategy: str = option("When to save a checkpoint.", "epoch", choices=(*_INTERVALS, "best"))
    save_steps: float = option("Steps between checkpoints, with --save_strategy steps.", 500)
    # With one checkpoint there would be none to resume from if it is damaged.
    save_total_limit: int | None = option("Checkpoints to keep; the newest and the best always stay.", 2)
    load_best_model_at_end: bool | None = option(
        "End with the best checkpoint. Default: where evaluations and checkpoints coincide."
    )
    metric_for_best_model: str | None = option(
        "Metric of the best checkpoint. Default: what thresholds are fitted for, if that is a score.", "hamming_score"
    )
    early_stopping_patience: int | None = option("Stop after this many evaluations without a better one.")
    restore_callback_states_from_checkpoint: bool = option(
        "In a resumed run, keep the count of --early_stopping_patience.", True
    )
    logging_steps: float = option("Steps between lines of the log.", 500)

    # Prediction
    engine: str = option(ENGINE + " For --do_predict.", ENGINES[0], choices=ENGINES)
    predict_precision: str | None = option(
        "Precision of the encoder in --do_predict, and of the models of --teacher. Default: bfloat16 with --bf16, "
        "else float32; float32 with --engine onnx.",
        choices=PRECISIONS,
    )
    stride: int | None = option(
        "Read long texts in windows that share this many tokens: all of them in evaluation and prediction, one per "
        "epoch in training. Default: texts are truncated."
    )
    pooling: str | None = option(POOLING, choices=POOLINGS)

    # Sharing
    card_language: list[str] | None = option("Languages of the texts for the model card: en, de. Default: none.")
    card_license: str | None = option("License for the model card, as on the Hub: apache-2.0. Default: none.")
    card_examples: int = option(
        "Validation texts to show in the model card, which is as public as the model. Default: 0.", 0
    )
    push_to_hub: bool = option("Push the model to the Hub at each checkpoint and at the end.", False)
    hub_model_id: str | None = option("Name of the repository, such as team/name. Default: that of the folder.")
    # A flag, where Trainer's own takes true, false or none.
    hub_private_repo: bool = option(
        "Make the repository private. Default: public, or what the organization has for its own.", False
    )

    # Trainer's own, which has nothing to do with the names of labels.
    label_names: list[str] | None = option(SUPPRESS)
