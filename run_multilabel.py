"""Fine-tune, evaluate and apply a multi-label BERT; `--help` lists the arguments, which may also be one JSON file."""

from bert_multilabel.arguments import parse_arguments
from bert_multilabel.training import run

if __name__ == "__main__":
    run(*parse_arguments())
