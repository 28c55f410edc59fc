"""Command lines to paste."""

import shlex

import pytest

from bert_multilabel.utils import shell

WORDS = ["predict", "a b/c", "it's", "|", ""]


def test_a_shell_reads_the_same_words():
    assert shlex.split(shell.join_words(WORDS)) == WORDS


@pytest.mark.parametrize(
    ("word", "written"),
    [
        (r"runs\first", r"runs\first"),
        (r"C:\my runs\first", r'"C:\my runs\first"'),
        ("C:\\my runs\\", r'"C:\my runs\\"'),
        ("|", '"|"'),
        (",", '","'),
        ("@a", '"@a"'),
        ("it's", '"it\'s"'),
        ("", '""'),
        ('a"b', r'"a\"b"'),
        (r"a\"b", r'"a\\\"b"'),
    ],
)
def test_on_windows_words_are_in_double_quotes(monkeypatch, word, written):
    monkeypatch.setattr(shell, "_IS_WINDOWS", True)
    assert shell.join_words(["page", word]) == f"page {written}"
