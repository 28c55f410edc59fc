"""Cells that do not have the form of their column are refused, and never read as no labels."""

import pytest

from bert_multilabel.data.label_form import LabelForm, count_cells
from bert_multilabel.data.label_parser import LabelParser
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue

NAMES = ["gift", "price"]


@pytest.mark.parametrize(
    ("cells", "form", "odd", "phrase"),
    [
        (["0", "1,0", "1"], LabelForm.JOINED_IDS, "gift", "'gift' is a text, but other rows hold ids in a text"),
        (["0", "1,0", "1"], LabelForm.JOINED_IDS, "1,x", "'1,x' is a text, but other rows hold ids in a text"),
        (["0", "1,0", "1"], LabelForm.JOINED_IDS, "9" * 5000, "is a text, but other rows hold ids in a text"),
        ([{"gift": 1}, {"price": 0}], LabelForm.MAPPING, 1, "1 is a single id, but other rows hold numbers by name"),
        ([{"gift": 1}, {"price": 0}], LabelForm.MAPPING, ["gift"], "but other rows hold numbers by name"),
        ([["gift"], []], LabelForm.NAMES, {"gift": 1}, "but other rows hold a list of names"),
    ],
)
def test_an_odd_cell_is_refused(cells, form, odd, phrase):
    known = DataSpec(label_names=NAMES)
    parser = LabelParser.of_cells("labels", {"train": count_cells(cells)}, known)
    assert parser.form is form
    with pytest.raises(BadValue) as caught:
        parser.parse({"labels": odd})
    assert phrase in str(caught.value)


def test_a_column_of_names_and_ids_is_refused_where_they_mix():
    cells = ["0", "1,0", "gift", "1"]
    parser = LabelParser.of_cells("labels", {"train": count_cells(cells)}, DataSpec(label_names=NAMES))
    assert parser.parse({"labels": "1,0"}) == [1.0, 1.0]
    with pytest.raises(BadValue, match="'gift' is a text"):
        parser.parse({"labels": "gift"})
