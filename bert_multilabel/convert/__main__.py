"""Runs `python -m bert_multilabel.convert`."""

from bert_multilabel.cli.commands import start

from .cli import main

if __name__ == "__main__":
    start(main)
