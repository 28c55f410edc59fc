from huggingface_hub import ModelCard

from bert_multilabel import MultiLabelConfig
from bert_multilabel.model_card import write_model_card


def test_the_card_says_what_the_model_decides_and_how_well(tmp_path):
    path = tmp_path / "opinions" / "README.md"
    path.parent.mkdir()
    config = MultiLabelConfig(label_names=["too expensive", "good value"], strategy="label_tokens")
    write_model_card(path, config, "/models/bert-base", {"eval_hamming_score": 0.61234, "eval_loss": 0.1})
    card = ModelCard.load(path)
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "text-classification"
    assert "multi-label" in card.data.tags
    for line in ("# opinions", "- too expensive", "- good value", "| hamming score | 0.6123 |", "from `bert-base`"):
        assert line in card.text
    assert "eval_loss" not in card.text


def test_a_run_without_evaluation_claims_no_scores(tmp_path):
    write_model_card(tmp_path / "README.md", MultiLabelConfig(label_names=["a"]), "bert", {"train_loss": 0.5})
    assert "None: the run did not evaluate." in (tmp_path / "README.md").read_text()
