"""Stock `AutoModelForSequenceClassification` with `Trainer`, trained and asked like the script: a peer for quality.py.

Takes the script's arguments that quality.py gives, and writes the same two files. Everything is as the documentation
of Transformers has it for multi-label classification, with one learning rate, and batches grouped by length.
"""

from pathlib import Path

import torch
from datasets import Dataset
from peer_files import write_results
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.prepare import load_run_data

model_args, data_args, training_args, _ = parse_arguments()
set_seed(training_args.seed)
data = load_run_data(data_args, training_args, None)
tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path)
model = AutoModelForSequenceClassification.from_pretrained(
    model_args.model_name_or_path, num_labels=len(data.label_names), problem_type="multi_label_classification"
)


def encode(rows: Dataset) -> Dataset:
    """Tokenize the texts of a split."""
    encoded = rows.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True, remove_columns=["text"])
    return encoded.add_column("length", [len(ids) for ids in encoded["input_ids"]])


args = TrainingArguments(
    str(training_args.output_dir),
    num_train_epochs=training_args.num_train_epochs,
    max_steps=training_args.max_steps,
    per_device_train_batch_size=training_args.per_device_train_batch_size,
    learning_rate=training_args.learning_rate,
    warmup_steps=training_args.warmup_steps,
    weight_decay=training_args.weight_decay,
    seed=training_args.seed,
    bf16=training_args.bf16,
    use_cpu=training_args.use_cpu,
    train_sampling_strategy="group_by_length",
    save_strategy="no",
    disable_tqdm=True,
    report_to="none",
)
collator = DataCollatorWithPadding(tokenizer)
trainer = Trainer(model=model, args=args, train_dataset=encode(data.splits["train"]), data_collator=collator)
metrics = trainer.train().metrics
trainer.args.train_sampling_strategy = "random"  # else the predictions would come in another order than the rows
logits = torch.tensor(trainer.predict(encode(data.splits["test"])).predictions)  # (N, L)
folder = Path(str(training_args.output_dir))
write_results(folder, data.label_names, logits.sigmoid().numpy(), metrics["train_runtime"])
