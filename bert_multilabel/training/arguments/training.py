"""`TrainingArguments` with the defaults, options and checks of multi-label training."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from transformers import TrainingArguments
from transformers.integrations.integration_utils import get_available_reporting_integrations
from transformers.trainer_pt_utils import AcceleratorConfig

from bert_multilabel.engines.choice import ENGINES, check_device, check_engine
from bert_multilabel.errors import MultiLabelError
from bert_multilabel.model.windows import Windows
from bert_multilabel.training.options.training import LOSSES, TrainingOptions
from bert_multilabel.utils.checks import check_at_least_one
from bert_multilabel.utils.distributed import check_launch
from bert_multilabel.utils.extras import check_installed
from bert_multilabel.utils.files import check_can_be_made
from bert_multilabel.utils.option_parser import document_fields
from bert_multilabel.utils.verbosity import shows_progress_bars

# The form of languages (ISO 639) and licenses on the Hub, which checks whether they exist.
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*|multilingual")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_COSTS = ("loss", "brier_score", "calibration_error")  # in the names of metrics where lower is better
# Options of one loss: which one, the least value, and the default.
_LOSS_OPTIONS = {"focal_gamma": ("focal", 0.0, 2.0), "max_pos_weight": ("weighted_bce", 1.0, 10.0)}


@document_fields
@dataclass(kw_only=True)
class MultiLabelTrainingArguments(TrainingOptions, TrainingArguments):  # type: ignore[misc]  # see load_best_model_at_end
    """`TrainingArguments` with the options and defaults of multi-label training.

    Raises:
        MultiLabelError: If a value is refused, or two options contradict each other.
    """

    def __post_init__(self) -> None:
        self._check_tasks()
        self._settle_best()
        self._check_unsupported()
        self._check_numbers()
        self._check_streaming()
        self._check_loss()
        self._check_teachers()
        self._check_card()
        self._check_prediction()
        self._settle_trainer()
        try:
            super().__post_init__()
        except (ValueError, TypeError, ImportError) as error:  # values that Transformers refuses
            raise MultiLabelError(str(error)) from error
        check_launch(self.world_size)
        check_device(self.engine, self.device.type)  # now, not after training
        self._check_integrations()
        if self.streaming:
            # Each process reads the examples and takes its share, as batches are padded to different lengths.
            cast(AcceleratorConfig, self.accelerator_config).dispatch_batches = False
        if self.hyperparameter_search is not None:
            self._check_search(f"--hyperparameter_search {self.hyperparameter_search}")

    @property
    def windows(self) -> Windows | None:
        """How long texts are split into windows; None: they are truncated."""
        return Windows.of(self.stride, self.pooling)

    @property
    def named_checkpoint(self) -> Path | None:
        """The checkpoint that `--resume_from_checkpoint` names; runs resume by themselves, with or without "true"."""
        named = self.resume_from_checkpoint
        return None if named is None or str(named).lower() in ("true", "false") else Path(named)

    @property
    def examples_per_step(self) -> int:
        """Examples of a step in all processes."""
        return int(self.train_batch_size * self.gradient_accumulation_steps * self.world_size)

    @property
    def order_seed(self) -> int:
        """Seed of the order of the training examples."""
        return self.seed if self.data_seed is None else self.data_seed

    def _check_tasks(self) -> None:
        if not (self.do_train or self.do_eval or self.do_predict):
            raise MultiLabelError("nothing to do: give --do_train, --do_eval, --do_predict, or several of them")
        if not self.output_dir:
            raise MultiLabelError("--output_dir is missing: it says where the model and its results go")
        check_can_be_made(Path(self.output_dir))
        if self.push_to_hub and not self.do_train:
            raise MultiLabelError("--push_to_hub needs --do_train; `hf upload` pushes a trained folder")
        if self.report and not self.do_eval:
            raise MultiLabelError("--report is about an evaluation: add --do_eval")
        if self.report:
            check_installed("--report", "report")
        if self.windows is not None and self.do_train and self.dataloader_persistent_workers:
            raise MultiLabelError(
                f"--stride {self.stride} reads other windows in each epoch, which persistent workers would not see: "
                "drop --dataloader_persistent_workers"
            )

    def _settle_best(self) -> None:
        """Load the best checkpoint at the end if each evaluation is saved; refuse it if that one may be missing."""
        if not (self.do_train and self.do_eval):
            self.eval_strategy = "no"  # so there is no best checkpoint either
        evaluates, saves = (getattr(name, "value", name) for name in (self.eval_strategy, self.save_strategy))
        eval_steps = self.eval_steps or self.logging_steps
        has_steps = "steps" in (evaluates, saves)
        saves_each = evaluates == saves != "no" and not (has_steps and eval_steps != self.save_steps)
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = saves_each
        elif self.load_best_model_at_end and has_steps and not saves_each and saves != "best":
            raise MultiLabelError(
                "--load_best_model_at_end needs a checkpoint of each evaluation: make --save_strategy "
                f"({saves}) and --save_steps ({self.save_steps:g}) those of --eval_strategy ({evaluates}) and "
                f"--eval_steps ({eval_steps:g})"
            )
        check_at_least_one("early_stopping_patience", self.early_stopping_patience)
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise MultiLabelError(
                f"--early_stopping_patience {self.early_stopping_patience} needs evaluations to stop by: add "
                "--do_eval, and make --eval_strategy and --save_strategy the same"
            )

    def _check_unsupported(self) -> None:
        for name in ("bf16_full_eval", "fp16_full_eval"):
            if getattr(self, name):
                raise MultiLabelError(
                    f"--{name} would change the weights that are saved: drop it, and use --bf16 or --fp16"
                )
        if self.save_on_each_node:
            raise MultiLabelError("--save_on_each_node: all nodes share one --output_dir, and one writes: drop it")
        if self.enable_jit_checkpoint:
            raise MultiLabelError(
                "--enable_jit_checkpoint ends training within a step, as if finished: drop it; runs resume anyway"
            )
        if self.label_names not in (None, ["labels"]):
            names = " ".join(self.label_names)
            raise MultiLabelError(f"--label_names {names} is an option of Trainer: use --label_names_file")

    def _check_numbers(self) -> None:
        if self.head_learning_rate is None:
            self.head_learning_rate = 20 * self.learning_rate
        for name in (
            *("learning_rate", "head_learning_rate", "weight_decay", "num_train_epochs"),
            *("dataloader_num_workers", "card_examples"),
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise MultiLabelError(f"--{name} must be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.weight_averaging < 1:
            raise MultiLabelError(f"--weight_averaging must be from 0 to below 1, got {self.weight_averaging:g}")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            check_at_least_one(name, getattr(self, name))

    def _check_streaming(self) -> None:
        if not self.streaming:
            return
        if not self.do_train:
            raise MultiLabelError("--streaming is about training data: add --do_train, or drop it")
        if self.dataloader_num_workers > 1 or self.dataloader_persistent_workers:
            raise MultiLabelError(
                "--streaming changes the order in each epoch, which several or persistent workers would not see: "
                "drop --dataloader_persistent_workers, and give --dataloader_num_workers 0 or 1"
            )
        self.remove_unused_columns = False  # the texts, which are tokenized batch by batch

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
            raise MultiLabelError(f"--label_correlation must be from 0 to below 1, got {self.label_correlation:g}")

    def _check_teachers(self) -> None:
        if self.teacher is None:
            if self.teacher_weight is not None:
                raise MultiLabelError(
                    f"--teacher_weight {self.teacher_weight:g} needs a --teacher: add one, or drop it"
                )
            return
        if isinstance(self.teacher, str):
            self.teacher = [self.teacher]
        if not self.do_train:
            raise MultiLabelError(f"--teacher {' '.join(self.teacher)} is for training: add --do_train, or drop it")
        if self.streaming:
            raise MultiLabelError("--teacher scores stored examples, not those of --streaming: drop one")
        if self.teacher_weight is None:
            self.teacher_weight = 0.5
        if not 0 <= self.teacher_weight <= 1:
            raise MultiLabelError(f"--teacher_weight must be from 0 to 1, got {self.teacher_weight:g}")

    def _check_card(self) -> None:
        for name in ("card_language", "card_license", "card_examples"):
            value = getattr(self, name)
            if value and not self.do_train:
                raise MultiLabelError(f"--{name} {value} is for the model card, which training writes: add --do_train")
        if self.card_examples and not self.do_eval:
            raise MultiLabelError(f"--card_examples {self.card_examples} are of the validation data: add --do_eval")
        for code in self.card_language or []:
            if not _LANGUAGE.fullmatch(code):
                raise MultiLabelError(f"--card_language takes codes such as en, pt-BR or multilingual, got {code!r}")
        if self.card_license is not None and not _LICENSE.fullmatch(self.card_license):
            raise MultiLabelError(
                f"--card_license takes a name of the Hub, such as apache-2.0 or other, got {self.card_license!r}"
            )

    def _check_prediction(self) -> None:
        if self.engine != ENGINES[0] and not self.do_predict:
            raise MultiLabelError(f"--engine {self.engine} is for predictions: add --do_predict, or drop it")
        if self.predict_precision is None:
            self.predict_precision = "bfloat16" if self.bf16 and self.engine != "onnx" else "float32"
        check_engine(self.engine, self.predict_precision)

    def _settle_trainer(self) -> None:
        """Set the options of Trainer that follow from others, or that no other value would suit."""
        if self.disable_tqdm is None:
            self.disable_tqdm = not shows_progress_bars()
        self.label_names = ["labels"]  # Trainer would take label_mask for labels, too
        if not torch.accelerator.is_available():
            self.dataloader_pin_memory = False  # torch would warn at every data loader
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = False  # there are none, and the search takes time
        if self.greater_is_better is None:
            self.greater_is_better = not any(cost in str(self.metric_for_best_model) for cost in _COSTS)

    def _check_integrations(self) -> None:
        if self.deepspeed_plugin is not None and self.deepspeed_plugin.zero_stage == 3:
            raise MultiLabelError(
                "ZeRO stage 3 shards the weights before label tokens can be added: use stage 2, as in "
                "examples/accelerate/deepspeed.yaml, or examples/accelerate/fsdp.yaml"
            )
        available = get_available_reporting_integrations()
        for name in cast(list[str], self.report_to):
            if name not in available:
                raise MultiLabelError(
                    f"--report_to {name} is not installed here (installed: {', '.join(available) or 'none'}): "
                    "install its package, or drop it"
                )

    def _check_search(self, asked: str) -> None:
        check_at_least_one("hyperparameter_search", self.hyperparameter_search)
        if not (self.do_train and self.do_eval):
            raise MultiLabelError(f"{asked} compares evaluations of trained models: add --do_train and --do_eval")
        if self.named_checkpoint is not None:
            raise MultiLabelError(
                f"{asked} and --resume_from_checkpoint {self.named_checkpoint} exclude each other: drop one"
            )
        if self.world_size > 1:
            raise MultiLabelError(
                f"{asked} runs in one process, but there are {self.world_size}: search in one, then train in all with "
                "the values of hyperparameter_search.json"
            )
        check_installed("--hyperparameter_search", "hpo")
