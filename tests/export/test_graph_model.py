import pytest
import torch

from bert_multilabel import from_backbone
from bert_multilabel.export.graph_model import GraphModel
from bert_multilabel.model.scoring import scoring_tokenizer
from tests.conftest import LABELS, save_checkpoint

MANY = [f"label {number}" for number in range(60)]
FORMS = {
    "cls": ("cls", LABELS, {"temperature": [0.5, 1.0, 2.0]}),
    "full": ("label_tokens", LABELS, {"temperature": 1.3}),
    "full-1": ("label_tokens", LABELS, {"label_layers": 1}),
    "isolated": ("label_tokens", LABELS, {"label_attention": "isolated", "temperature": [0.5, 1.0, 2.0]}),
    "many": ("label_tokens", MANY, {"temperature": 0.7}),
}
TEXTS = ["", "good", "the price is good [SEP] [OPINION1]", "quality " * 200, "the price is too expensive to buy"]
PAIRS = ["gift", "", "good " * 100, "the price " * 90, "[CLS] is it?"]


@pytest.fixture(scope="module", params=FORMS)
def models(request, tmp_path_factory):
    """A model and what becomes its graph, the tokenizer of the one and the tokenizer of the other."""
    strategy, labels, config = FORMS[request.param]
    backbone = save_checkpoint(tmp_path_factory.mktemp("backbone"), "uncased", max_position_embeddings=300)
    torch.manual_seed(0)
    model, tokenizer = from_backbone(backbone, labels, strategy, **config)
    tokenizer = scoring_tokenizer(tokenizer, model.config)
    tokenizer.model_max_length = 24 + len(tokenizer.label_token_ids)
    return (
        model.eval(),
        GraphModel(model, tokenizer.sep_token_id, 24).eval(),
        tokenizer,
        tokenizer.without_label_tokens(),
    )


def inputs(tokenizer, *texts, **options):
    batch = tokenizer(*texts, padding=True, return_tensors="pt", **options)
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


@torch.inference_mode()
def expected(model, tokenizer, *texts):
    rows = [model(**tokenizer(*row, truncation=True, return_tensors="pt")).logits for row in zip(*texts, strict=True)]
    return torch.cat(rows) / torch.tensor(model.config.temperature)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("texts", [(TEXTS,), (TEXTS, PAIRS)], ids=["texts", "pairs"])
@torch.inference_mode()
def test_texts_without_label_tokens_get_calibrated_logits(models, texts, side):
    model, graph, tokenizer, text_tokenizer = models
    logits = graph(**inputs(text_tokenizer, *texts, truncation=True, padding_side=side))
    torch.testing.assert_close(logits, expected(model, tokenizer, *texts), rtol=0, atol=2e-5)


@torch.inference_mode()
def test_ids_whose_end_is_cut_off_count_as_a_text_that_is_cut(models):
    model, graph, tokenizer, text_tokenizer = models
    cut = {name: tensor[:, :24] for name, tensor in inputs(text_tokenizer, TEXTS, verbose=False).items()}
    assert cut["input_ids"][3, -1] != tokenizer.sep_token_id
    torch.testing.assert_close(graph(**cut), expected(model, tokenizer, TEXTS), rtol=0, atol=2e-5)


@pytest.mark.parametrize("side", ["right", "left"])
@torch.inference_mode()
def test_ids_that_nobody_cuts_are_cut_at_the_limit(models, side):
    model, graph, tokenizer, text_tokenizer = models
    uncut = inputs(text_tokenizer, TEXTS, verbose=False, padding_side=side)
    assert uncut["input_ids"].size(1) == 202
    torch.testing.assert_close(graph(**uncut), expected(model, tokenizer, TEXTS), rtol=0, atol=2e-5)
