"""`TrainingArguments` with the defaults, options and checks of multi-label training."""

import math
import re
from argparse import SUPPRESS
from dataclasses import dataclass, field
from typing import cast

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_available_reporting_integrations
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from bert_multilabel.data.streaming import SHUFFLE_BUFFER, ExampleStream
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.scoring import PRECISIONS
from bert_multilabel.model.windows import POOLINGS, Windows
from bert_multilabel.training.losses import LOSSES
from bert_multilabel.utils.checks import check_at_least_one
from bert_multilabel.utils.distributed import check_launch
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.option_parser import document_fields

# The form of languages (ISO 639) and licenses on the Hub, which checks whether they exist.
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|multilingual")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")

# Of training examples.
_ORDERS = ("group_by_length", "random", "sequential")

# In the names of metrics where lower is better.
_COSTS = ("loss", "brier_score", "calibration_error")

# Options of one loss: which one, the least value, and the default.
_LOSS_OPTIONS = {"focal_gamma": ("focal", 0.0, 2.0), "max_pos_weight": ("weighted_bce", 1.0, 10.0)}


@document_fields
@dataclass(kw_only=True)
class MultiLabelTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the options and defaults of multi-label training.

    Raises:
        MultiLabelError: If a value is refused, or two options contradict each other.
    """

    per_device_train_batch_size: int = field(default=32, metadata={"help": "Examples per device and training step."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Examples per device and evaluation step."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate of the encoder."})
    head_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Peak learning rate of the classification head. Default: 20 times --learning_rate."},
    )
    loss: str = field(
        default="bce",
        metadata={
            "help": "What training minimizes: binary cross entropy, alone or with rare labels weighted up; focal or "
            "asymmetric loss, which put less weight on easy examples; zlpr, which ranks. Evaluation reports bce.",
            "choices": list(LOSSES),
        },
    )
    focal_gamma: float | None = field(
        default=None,
        metadata={"help": "How much --loss focal reduces the weight of easy examples; 0: not at all. Default: 2."},
    )
    max_pos_weight: float | None = field(
        default=None,
        metadata={
            "help": "--loss weighted_bce weights the positives of a label by its negatives per positive, at most by "
            "this number, and at least by its inverse. Default: 10."
        },
    )
    label_correlation: float = field(
        default=0.0,
        metadata={"help": "Weight, below 1, of the loss that compares positive labels of an example with others."},
    )
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of matrices."})
    warmup_steps: float = field(
        default=0.1, metadata={"help": "Warm-up in steps, or below 1 as a share of all training steps."}
    )
    eval_strategy: IntervalStrategy | str = field(
        default="epoch", metadata={"help": "When to evaluate during training; only with --do_eval."}
    )
    save_strategy: SaveStrategy | str = field(default="epoch", metadata={"help": "When to save a checkpoint."})
    save_total_limit: int | None = field(
        # With one there would be none to resume from if that one is damaged.
        default=2,
        metadata={"help": "Checkpoints to keep; the newest and the best always stay."},
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True,
        metadata={"help": "In a resumed run, keep the count of --early_stopping_patience."},
    )
    load_best_model_at_end: bool | None = field(  # type: ignore[assignment]  # None until __post_init__ decides
        default=None,
        metadata={"help": "End with the best checkpoint. Default: where evaluations and checkpoints coincide."},
    )
    metric_for_best_model: str | None = field(
        default="hamming_score",
        metadata={
            "help": "Evaluation metric that says which checkpoint is best. Default: what thresholds are fitted for, "
            "if that is a score."
        },
    )
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={"help": "Order of the training examples.", "choices": list(_ORDERS)},
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the training rows anew in each epoch, and tokenize them then, instead of storing them on "
            f"disk first; each is drawn from the next {SHUFFLE_BUFFER:,}. All are checked before training."
        },
    )
    hub_private_repo: bool = field(  # a flag; Trainer's own takes a value: true, false or none
        default=False,
        metadata={"help": "Make the repository private. Default: public, or what the organization has for its own."},
    )
    predict_precision: str | None = field(
        default=None,
        metadata={
            "help": "Precision of the encoder's matrix products in --do_predict. Default: bfloat16 with --bf16, else "
            "float32.",
            "choices": list(PRECISIONS),
        },
    )
    stride: int | None = field(
        default=None,
        metadata={
            "help": "Read long texts in windows in --do_predict; consecutive windows share this many tokens. Default: "
            "texts are truncated."
        },
    )
    pooling: str | None = field(
        default=None,
        metadata={
            "help": "With --stride: the probability of a label is the maximum over all windows (max), or the mean. "
            "Default: max.",
            "choices": list(POOLINGS),
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after this many evaluations without a better one. Default: train all epochs."},
    )
    hyperparameter_search: int | None = field(
        default=None,
        metadata={
            "help": "Try this many sets of learning rates, warm-up, weight decay, batch size and epochs around the "
            "given ones, and train with the best by --metric_for_best_model. Default: train with the given ones."
        },
    )
    card_language: list[str] | None = field(
        default=None,
        metadata={"help": "Languages of the texts for the model card, as codes such as en. Default: it names none."},
    )
    card_license: str | None = field(
        default=None,
        metadata={"help": "License for the model card, as the Hub names it: apache-2.0. Default: it names none."},
    )
    card_examples: int = field(
        default=0,
        metadata={
            "help": "Show this many texts of the validation data in the model card, which is as public as the model. "
            "Default: 0, as data may be private."
        },
    )
    report: bool = field(
        default=False,
        metadata={
            "help": "Write report.html and report.json after --do_eval: scores, curves, confusions, and the examples "
            "that are worst or look mislabelled. Both contain texts of the validation data."
        },
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Replace the run that the output folder holds, and its checkpoints."},
    )

    label_names: list[str] | None = field(  # Trainer's own, which has nothing to do with the names of labels
        default=None, metadata={"help": SUPPRESS}
    )

    def __post_init__(self) -> None:
        self._check_tasks()
        self._settle_best()
        self._check_early_stopping()
        self._check_unsupported()
        self._check_numbers()
        self._check_windows()
        self._check_streaming()
        self._check_loss()
        self._check_card()
        self._check_report()
        self._settle_trainer()
        try:
            super().__post_init__()
        except (ValueError, TypeError, ImportError) as error:  # values that Transformers refuses
            raise MultiLabelError(str(error)) from error
        check_launch(self.world_size)
        self._check_deepspeed()
        self._check_reports()
        if self.streaming:
            # Each process reads the examples and takes its share, as batches are padded to different lengths.
            cast(AcceleratorConfig, self.accelerator_config).dispatch_batches = False
        if self.hyperparameter_search is not None:
            self._check_search()

    @property
    def windows(self) -> Windows | None:
        """How long texts are split into windows in prediction; None: they are truncated."""
        return None if self.stride is None else Windows(self.stride, self.pooling or "max")

    def ordered(self, stream: ExampleStream) -> ExampleStream:
        """Return the training examples in the order that these arguments ask for."""
        rows_per_step = self.train_batch_size * self.gradient_accumulation_steps * self.world_size
        seed = self.seed if self.data_seed is None else self.data_seed
        return stream.ordered(self.train_sampling_strategy, rows_per_step, seed)

    def _check_tasks(self) -> None:
        if not (self.do_train or self.do_eval or self.do_predict):
            raise MultiLabelError("nothing to do: give --do_train, --do_eval, --do_predict, or several of them")
        if self.output_dir is None:
            raise MultiLabelError("--output_dir is missing: it says where the model and its results go")
        if self.push_to_hub and not self.do_train:
            raise MultiLabelError(
                "--push_to_hub pushes what was trained: add --do_train, or push a folder with `hf upload`"
            )

    def _settle_best(self) -> None:
        """Load the best checkpoint at the end if each evaluation is saved; refuse it if that one may be missing."""
        if not (self.do_train and self.do_eval):
            self.eval_strategy = "no"  # so there is no best checkpoint either
        has_steps = "steps" in (self.eval_strategy, self.save_strategy)
        saves_each = self.eval_strategy == self.save_strategy != "no" and not (
            has_steps and (self.eval_steps or self.logging_steps) != self.save_steps
        )
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = saves_each
        elif self.load_best_model_at_end and has_steps and not saves_each and self.save_strategy != SaveStrategy.BEST:
            raise MultiLabelError(
                "--load_best_model_at_end needs a checkpoint of each evaluation, or the best one may not be there: "
                f"make --save_strategy ({SaveStrategy(self.save_strategy).value}) and --save_steps "
                f"({self.save_steps:g}) those of --eval_strategy ({IntervalStrategy(self.eval_strategy).value}) and "
                f"--eval_steps ({self.eval_steps or self.logging_steps:g})"
            )

    def _check_early_stopping(self) -> None:
        check_at_least_one("early_stopping_patience", self.early_stopping_patience)
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise MultiLabelError(
                f"--early_stopping_patience {self.early_stopping_patience} needs evaluations to stop by: add "
                "--do_eval, with --eval_strategy the same as --save_strategy, and as many steps"
            )

    def _check_unsupported(self) -> None:
        for name in ("bf16_full_eval", "fp16_full_eval"):
            if getattr(self, name):
                raise MultiLabelError(
                    f"--{name} would change the weights that are saved: drop it; evaluations take the precision of "
                    "--bf16 or --fp16, and predictions that of --predict_precision"
                )
        if self.save_on_each_node:
            raise MultiLabelError(
                "--save_on_each_node: all nodes must see one --output_dir, and one writes to it: drop it"
            )
        if self.enable_jit_checkpoint:
            raise MultiLabelError(
                "--enable_jit_checkpoint ends training within a step, as if it were finished: drop it; a run that was "
                "stopped is resumed from its last checkpoint by the same command (--save_strategy steps --save_steps "
                "N for more of them)"
            )
        if self.label_names not in (None, ["labels"]):
            raise MultiLabelError(
                f"--label_names {' '.join(self.label_names)} is an option of Trainer: use --label_names_file"
            )

    def _check_numbers(self) -> None:
        if self.head_learning_rate is None:
            self.head_learning_rate = 20 * self.learning_rate
        for name in ("learning_rate", "head_learning_rate", "weight_decay", "num_train_epochs"):
            if not 0 <= getattr(self, name) < math.inf:
                raise MultiLabelError(f"--{name} must be 0 or more, got {getattr(self, name)}")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            check_at_least_one(name, getattr(self, name))
        if self.dataloader_num_workers < 0:
            raise MultiLabelError(f"--dataloader_num_workers must be 0 or more, got {self.dataloader_num_workers}")

    def _check_streaming(self) -> None:
        if not self.streaming:
            return
        if not self.do_train:
            raise MultiLabelError("--streaming is about training data: add --do_train, or drop it")
        if self.dataloader_num_workers > 1 or self.dataloader_persistent_workers:
            raise MultiLabelError(
                "--streaming orders the examples again in each epoch, which several workers, or persistent ones, "
                "would not see: drop --dataloader_persistent_workers, and give --dataloader_num_workers 0 or 1"
            )
        self.remove_unused_columns = False  # the texts, which are tokenized batch by batch

    def _check_report(self) -> None:
        if self.report:
            if not self.do_eval:
                raise MultiLabelError("--report is about an evaluation: add --do_eval")
            check_installed("--report", "report")

    def _settle_trainer(self) -> None:
        """Set the options of Trainer that follow from others, or that no other value would suit."""
        if self.predict_precision is None:
            self.predict_precision = "bfloat16" if self.bf16 else "float32"
        self.label_names = ["labels"]  # Trainer would take label_mask for labels, too
        if not torch.accelerator.is_available():
            self.dataloader_pin_memory = False  # torch would warn at every data loader
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False  # there are none, and the search takes time
        if self.greater_is_better is None:
            self.greater_is_better = not any(cost in str(self.metric_for_best_model) for cost in _COSTS)

    def _check_windows(self) -> None:
        if self.windows is not None and not self.do_predict:
            raise MultiLabelError(f"--stride {self.stride} is for --do_predict: add it, or drop --stride")
        if self.stride is None and self.pooling is not None:
            raise MultiLabelError(f"--pooling {self.pooling} is for windows over long texts: add --stride, or drop it")

    def _check_deepspeed(self) -> None:
        if self.deepspeed_plugin is not None and self.deepspeed_plugin.zero_stage == 3:
            raise MultiLabelError(
                "ZeRO stage 3 shards the weights before label tokens can be added: use stage 2, as "
                "examples/accelerate/deepspeed.yaml does, or shard with examples/accelerate/fsdp.yaml"
            )

    def _check_reports(self) -> None:
        available = get_available_reporting_integrations()
        for name in cast(list[str], self.report_to):
            if name not in available:
                raise MultiLabelError(
                    f"--report_to {name} is not installed here (installed: {', '.join(available) or 'none'}): "
                    "install its package, or drop it"
                )

    def _check_search(self) -> None:
        asked = f"--hyperparameter_search {self.hyperparameter_search}"
        check_at_least_one("hyperparameter_search", self.hyperparameter_search)
        if not (self.do_train and self.do_eval):
            raise MultiLabelError(f"{asked} compares evaluations of trained models: add --do_train and --do_eval")
        if str(self.resume_from_checkpoint).lower() not in ("none", "true", "false"):
            raise MultiLabelError(
                f"{asked} and --resume_from_checkpoint {self.resume_from_checkpoint} exclude each other: without the "
                "latter, the run is resumed with what the search found"
            )
        if self.world_size > 1:
            raise MultiLabelError(
                f"{asked} runs in one process, but there are {self.world_size}: search in one, then train in all with "
                "the values of hyperparameter_search.json"
            )
        check_installed("--hyperparameter_search", "hpo")

    def _check_loss(self) -> None:
        if self.loss not in LOSSES:
            raise MultiLabelError(f"--loss must be one of {', '.join(LOSSES)}, got {self.loss}")
        for name, (loss, least, default) in _LOSS_OPTIONS.items():
            value = getattr(self, name)
            if value is None:
                setattr(self, name, default if self.loss == loss else None)
            elif self.loss != loss:
                raise MultiLabelError(f"--{name} {value:g} is for --loss {loss}, but --loss is {self.loss}: drop it")
            elif not least <= value < math.inf:
                raise MultiLabelError(f"--{name} must be a number from {least:g} up, got {value:g}")
        if not 0 <= self.label_correlation < 1:
            raise MultiLabelError(
                f"--label_correlation must be at least 0 and below 1, got {self.label_correlation:g}: the rest of the "
                "weight is that of --loss"
            )

    def _check_card(self) -> None:
        for name in ("card_language", "card_license", "card_examples"):
            value = getattr(self, name)
            if value and not self.do_train:
                raise MultiLabelError(f"--{name} {value} is for the model card, which training writes: add --do_train")
        if self.card_examples < 0:
            raise MultiLabelError(f"--card_examples must be at least 0, got {self.card_examples}")
        if self.card_examples and not self.do_eval:
            raise MultiLabelError(f"--card_examples {self.card_examples} are of the validation data: add --do_eval")
        for code in self.card_language or []:
            if not _LANGUAGE.fullmatch(code):
                raise MultiLabelError(
                    f"--card_language takes codes such as en or pt-BR, or multilingual, got {code!r}"
                )
        if self.card_license is not None and not _LICENSE.fullmatch(self.card_license):
            raise MultiLabelError(
                f"--card_license takes a name of the Hub such as apache-2.0, cc-by-4.0 or other, got "
                f"{self.card_license!r}"
            )
