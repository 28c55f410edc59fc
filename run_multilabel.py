"""Fine-tune, evaluate and apply a multi-label BERT; `--help` lists the arguments, which may also be one JSON file."""

from bert_multilabel.cli.commands import start
from bert_multilabel.cli.train import run_script

if __name__ == "__main__":
    start(run_script)
