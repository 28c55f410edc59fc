"""Runs `python -m bert_multilabel`."""

from bert_multilabel.cli.main import main

if __name__ == "__main__":
    main()
