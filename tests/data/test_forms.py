from dataclasses import replace

import pytest

from bert_multilabel.data.examples import load_examples
from bert_multilabel.data.label_names import read_label_names
from bert_multilabel.errors import DataError
from tests.data.forms import DOC, FORMS, document


def known_for(form, folder):
    if form.names_file is None:
        return form.known
    path = folder / form.names_file[0]
    path.write_text(form.names_file[1], encoding="utf-8")
    found = read_label_names(str(path))
    return {**form.known, "label_names": found.names, "label_ids": found.ids}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_form_has_its_labels(form, tmp_path):
    loaded = load_examples(form.write(tmp_path), **known_for(form, tmp_path))
    names, examples = loaded.label_names, loaded.splits["train"]
    assert examples["text"][:] == form.texts
    if isinstance(form.labels[0][0], str):
        assert [[n for n, x in zip(names, row, strict=True) if x == 1] for row in examples["labels"]] == form.labels
        assert all(x in (0, 1) for row in examples["labels"] for x in row)
    else:
        assert examples["labels"][:] == form.labels


@pytest.mark.parametrize("form", [form for form in FORMS if form.asks], ids=lambda form: form.name)
def test_what_may_mean_two_things_is_asked_for(form, tmp_path):
    with pytest.raises(DataError) as caught:
        load_examples(replace(form, known={}, names_file=None).write(tmp_path))
    assert form.asks in str(caught.value)


def test_the_documentation_shows_these_forms():
    assert DOC.read_text(encoding="utf-8") == document(), "run python -m tests.data.forms"
