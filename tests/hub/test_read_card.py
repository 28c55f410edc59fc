import pytest

from bert_multilabel.hub.read_card import card_examples


@pytest.mark.parametrize("card", [None, "# No metadata", "---\nwidget: 7\n---\n", "---\nwidget: [\n---\n"])
def test_a_card_without_examples_gives_none(tmp_path, card):
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert card_examples(tmp_path) == []
