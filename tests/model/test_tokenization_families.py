"""What is promised of the tokenizer holds for that of any family: WordPiece, byte-level BPE and unigram."""

import json
import os
import random
import subprocess
import sys

import pytest
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer, CamembertTokenizer, RobertaTokenizer, TokenizersBackend

from bert_multilabel import MultiLabelTokenizer
from bert_multilabel.model.windows import Windows
from tests import hostile
from tests.conftest import LABELS
from tests.families import FAMILIES, TEXT, save_tokenizer

TEXTS = [*TEXT, "", "  two  spaces\n\tand a tab ", "It's e\u0301 ﬁne: 100€ 👍🏽!!", "价格 a价b", "don't ￥ ＜ <b> a<c"]
FORMS = [
    {},
    {"truncation": True, "max_length": 9},
    {"truncation": True, "max_length": 12, "padding": "max_length"},
    {"truncation": True, "max_length": 60, "padding": True},
]


@pytest.fixture(scope="module", params=[family for family in FAMILIES if family != "electra"])  # as BERT
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, families):
    return families[family]


@pytest.fixture(scope="module")
def label_tokenizer(folder):
    return MultiLabelTokenizer.from_pretrained(folder, label_names=LABELS, strategy="label_tokens")


def load(folder, strategy="label_tokens", **options):
    return MultiLabelTokenizer.from_pretrained(folder, label_names=LABELS, strategy=strategy, **options)


@pytest.mark.parametrize("sides", [("right", "right"), ("left", "left")])
def test_cls_reads_as_the_tokenizer_of_the_backbone(folder, sides):
    options = dict(zip(("padding_side", "truncation_side"), sides, strict=True))
    stock, ours = AutoTokenizer.from_pretrained(folder, **options), load(folder, "cls", **options)
    assert len(ours) == len(stock)
    pairs = TEXTS[1:] + TEXTS[:1]
    for form in FORMS:
        for inputs in ((TEXTS,), (TEXTS, pairs), (list(zip(TEXTS, pairs, strict=True)),)):
            own, expected = ours(*inputs, **form), stock(*inputs, **form)
            assert {name: own[name] for name in expected} == dict(expected)
        words = [text.split(" ") for text in TEXTS]
        own, expected = (one(words, is_split_into_words=True, **form) for one in (ours, stock))
        assert own["input_ids"] == expected["input_ids"]
        for text, pair in zip(TEXTS, pairs, strict=True):
            if pair and text:  # Transformers drops an empty pair of a single text
                assert ours(text, pair, **form)["input_ids"] == stock(text, pair, **form)["input_ids"]
    assert ours.token_ids(TEXTS, pairs, 20)[0] == stock(TEXTS, pairs, truncation=True, max_length=20)["input_ids"]
    for text in TEXTS:
        assert ours.decode(ours(text)["input_ids"]) == stock.decode(stock(text)["input_ids"])


@pytest.mark.parametrize("prefix", [True, False])
def test_a_space_before_the_text_is_added_as_the_backbone_does(tmp_path, prefix):
    save_tokenizer("roberta", tmp_path, add_prefix_space=prefix, trim_offsets=False)
    stock = AutoTokenizer.from_pretrained(tmp_path)
    for tokenizer in (load(tmp_path, "cls"), load(tmp_path)):
        first = tokenizer.convert_ids_to_tokens(tokenizer("price")["input_ids"])[1]
        assert first.startswith("Ġ") == prefix
        offsets = tokenizer("a good price", return_offsets_mapping=True)["offset_mapping"]
        assert offsets[1:4] == stock("a good price", return_offsets_mapping=True)["offset_mapping"][1:4]


def test_label_tokens_come_before_the_last_separator(family, label_tokenizer):
    label_tokens = ["[OPINION1]", "[OPINION2]", "[OPINION3]"]
    single, pair = label_tokenizer("good"), label_tokenizer("good", "price")
    marks = {"bert": ("[CLS]", ["[SEP]"], "[SEP]"), "roberta": ("<s>", ["</s>", "</s>"], "</s>")}
    first, between, last = marks["bert" if family in ("bert", "distilbert", "electra") else "roberta"]

    def text(word, spaced):  # byte-level pieces of these words, as trained, and those of the others
        ids = label_tokenizer(word, add_special_tokens=False)["input_ids"]
        return label_tokenizer.convert_ids_to_tokens(ids) if family == "roberta" else [spaced]

    space = "" if first == "[CLS]" else "▁"
    good, price = text("good", f"{space}good"), text("price", f"{space}price")
    expected = [first, *good, *label_tokens, last]
    assert label_tokenizer.convert_ids_to_tokens(single["input_ids"]) == expected
    assert single["label_mask"] == [int(token in label_tokens) for token in expected]
    expected = [first, *good, *between, *price, *label_tokens, last]
    assert label_tokenizer.convert_ids_to_tokens(pair["input_ids"]) == expected
    assert pair["label_mask"] == [int(token in label_tokens) for token in expected]
    if family in ("bert", "electra"):
        assert pair["token_type_ids"] == [0, 0, 0, 1, 1, 1, 1, 1]
    else:
        assert set(pair["token_type_ids"]) == {0}
    size = len(label_tokenizer)
    assert label_tokenizer.label_token_ids == [size - 3, size - 2, size - 1]


def test_padding_has_the_id_of_the_backbone(folder, label_tokenizer):
    stock = AutoTokenizer.from_pretrained(folder)
    batch = label_tokenizer(["good", "the price is good"], padding=True)
    assert batch["input_ids"][0][-1] == stock.pad_token_id == label_tokenizer.pad_token_id
    assert sum(batch["label_mask"][0]) == 3
    assert label_tokenizer.pad([label_tokenizer("good"), label_tokenizer("the price is good")]) == batch


def test_offsets_and_words_are_those_of_the_backbone(folder, label_tokenizer):
    stock = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    backend = label_tokenizer.backend_tokenizer
    for text in TEXTS:
        expected, own = stock.encode(text, text), backend.encode(text, text)
        count = len(own) - 4
        assert (own.offsets[:count], own.word_ids[:count]) == (expected.offsets[:-1], expected.word_ids[:-1])
        assert own.ids[:count] == expected.ids[:-1]
        assert {*own.sequence_ids} == {None, *([0, 1] if expected.ids[count - 1] else [])} or text == ""


def hostile_texts(count, seed=0):
    draw = random.Random(seed)
    pieces = [spelling for token in hostile.TOKENS for spelling in hostile.spellings(token)]
    pieces += [" ", "good", "\n", "价格", "é", "<", "<s", "s>", "[OPINION", "1]"]
    return ["".join(draw.choices(pieces, k=draw.randint(1, 6))) for _ in range(count)]


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_text_makes_a_special_or_a_label_token(label_tokenizer, count):
    texts = hostile_texts(count)
    asked = {"padding": True, "truncation": True, "max_length": 64}
    for number, batch in enumerate(
        (
            label_tokenizer(texts, **asked),
            label_tokenizer(texts, texts[::-1], **asked),
            label_tokenizer([text.split(" ") for text in texts], is_split_into_words=True, **asked),
        )
    ):
        hostile.check_tokens(label_tokenizer, batch, are_pairs=number == 1)
    ids, _ = label_tokenizer.token_ids(texts)
    special = {*label_tokenizer.all_special_ids} - {label_tokenizer.unk_token_id}
    framing = label_tokenizer.num_special_tokens_to_add()
    assert {sum(token in special for token in row) for row in ids} == {framing}


def test_a_text_that_spells_a_special_token_keeps_all_its_letters(family, label_tokenizer):
    text = "a <s>b</s> <mask><pad>"
    ids = label_tokenizer(text, add_special_tokens=False)["input_ids"]
    assert label_tokenizer.unk_token_id not in ids
    tokens = label_tokenizer.convert_ids_to_tokens(ids)
    assert "".join("".join(tokens).split("##")).translate({ord(c): None for c in "▁Ġ"}) == text.replace(" ", "")


def test_saved_it_reads_the_same_anywhere(families, tmp_path):
    texts, expected = hostile_texts(50, seed=1) + TEXTS, {}
    for family, folder in families.items():
        for strategy in ("cls", "label_tokens"):
            ours = load(folder, strategy, model_max_length=40)
            saved = tmp_path / f"{family}-{strategy}"
            ours.save_pretrained(saved)
            (saved / "config.json").write_text('{"model_type": "bert_multilabel"}')
            content = ours.backend_tokenizer.to_str()
            read = ours(texts, texts[::-1], truncation=True)
            if strategy == "label_tokens" and family in ("distilbert", "roberta", "camembert"):
                expected[str(saved)] = {**read, "size": len(ours), "names": ours.special_tokens_map}
            loaded = MultiLabelTokenizer.from_pretrained(saved)
            assert loaded.backend_tokenizer.to_str() == content
            assert loaded.special_tokens_map == ours.special_tokens_map
            assert (loaded.label_names, loaded.label_token_ids) == (LABELS, ours.label_token_ids)
            # tokenizer.json alone, for whoever has only the tokenizers library
            alone = Tokenizer.from_file(str(saved / "tokenizer.json"))
            alone.encode_special_tokens = True
            alone.enable_truncation(40)
            alone.no_padding()
            inputs = list(zip(texts, texts[::-1], strict=True))
            assert [encoding.ids for encoding in alone.encode_batch_fast(inputs)] == read["input_ids"]
    script = """if True:
        import json, sys
        from transformers import AutoTokenizer
        texts, found = json.load(sys.stdin), {}
        for folder in sys.argv[1:]:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
            read = dict(tokenizer(texts, texts[::-1], truncation=True))
            found[folder] = {**read, "size": len(tokenizer), "names": tokenizer.special_tokens_map}
        assert "bert_multilabel" not in sys.modules
        json.dump(found, sys.stdout)
    """
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "PYTHONPATH": ""}
    command = [sys.executable, "-c", script, *expected]
    done = subprocess.run(
        command, input=json.dumps(texts), capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_added_labels_read_as_if_they_had_always_been_there(folder, label_tokenizer):
    ours = MultiLabelTokenizer.from_pretrained(folder, label_names=LABELS[:1], strategy="label_tokens")
    ours.add_labels(LABELS[1:])
    assert ours.label_token_ids == label_tokenizer.label_token_ids
    assert dict(ours(TEXTS, TEXTS)) == dict(label_tokenizer(TEXTS, TEXTS))


def test_without_label_tokens_it_reads_as_cls(folder, label_tokenizer):
    reader, cls = label_tokenizer.without_label_tokens(), load(folder, "cls")
    assert reader.token_ids(TEXTS, TEXTS) == cls.token_ids(TEXTS, TEXTS)
    assert reader.token_ids(TEXTS) == cls.token_ids(TEXTS)


@pytest.mark.parametrize("strategy", ["cls", "label_tokens"])
@pytest.mark.parametrize("pairs", [False, True])
def test_windows_are_those_of_the_tokenizers_library(folder, strategy, pairs):
    tokenizer = load(folder, strategy)
    texts = [TEXT[0], "", TEXT[3]]
    second = ["gift", "", "é <s>"] if pairs else None
    whole = tokenizer.token_ids(texts, second)
    asked = {"truncation": "only_first", "stride": 3, "return_overflowing_tokens": True}
    for length in (20, 21):
        expected = tokenizer(texts, second, max_length=length, **asked)
        ids, types, counts = Windows(3).cut(*whole, tokenizer, length)
        assert (ids, types) == (expected["input_ids"], expected["token_type_ids"])
        assert sum(counts) == len(ids) > 6


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_long_pairs_are_cut_where_the_library_cuts_them(families, family, side):
    tokenizer = load(families[family], truncation_side=side)
    texts = ["it's don't, the price " * 3, "价格太贵了" * 12, "a" * 40 + "!'s" * 9, " " * 60 + "good"]
    for first, second in zip(texts, [texts[0], *texts[2:], texts[1]], strict=True):
        for one, other, form in (
            (first, second, {}),
            (first.split(" "), second.split(" "), {"is_split_into_words": True}),
        ):
            asked = {"truncation": True, "max_length": 12, **form}
            # What is cut off is asked for here, so nothing is cut beforehand.
            expected = tokenizer(one, other, return_overflowing_tokens=True, **asked)["input_ids"][0]
            assert tokenizer(one, other, **asked)["input_ids"] == expected


def test_an_empty_pair_has_no_tokens(label_tokenizer):
    for text in ("good", ""):
        for form in FORMS[:3]:
            alone, batch = label_tokenizer(text, "", **form), label_tokenizer([text], [""], **form)
            assert dict(alone) == {name: rows[0] for name, rows in batch.items()}
            assert alone.tokens() == batch.tokens(0)
    tensors = label_tokenizer("good", "", return_tensors="pt")
    assert tensors["input_ids"].tolist() == [label_tokenizer("good", "")["input_ids"]]


def test_files_of_old_checkpoints_are_converted(families, tmp_path):
    model = json.loads((families["roberta"] / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, model["merges"])))
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    stock, ours = AutoTokenizer.from_pretrained(tmp_path), load(tmp_path, "cls")
    assert isinstance(stock, RobertaTokenizer)
    assert ours(TEXTS, TEXTS)["input_ids"] == stock(TEXTS, TEXTS)["input_ids"]
    assert load(tmp_path)(TEXTS)["input_ids"] == load(families["roberta"])(TEXTS)["input_ids"]


@pytest.mark.parametrize(
    "post_processor",
    [
        processors.BertProcessing(("</s>", 2), ("<s>", 0)),
        processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False),
        processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=True),
                processors.TemplateProcessing(
                    single="<s> $A </s>",
                    pair="<s> <mask> $A </s> $B:1 <mask>:1 </s>:1",
                    special_tokens=[("<s>", 0), ("</s>", 2), ("<mask>", 166)],
                ),
            ]
        ),
    ],
)
def test_any_frame_around_texts_is_kept(families, tmp_path, post_processor):
    stock = AutoTokenizer.from_pretrained(families["multilingual-bert"])
    stock.backend_tokenizer.post_processor = post_processor
    stock.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    cls, ours = load(tmp_path, "cls"), load(tmp_path)
    for inputs in ((TEXTS,), (TEXTS, TEXTS[::-1])):
        expected = stock(*inputs, return_token_type_ids=True)
        assert (cls(*inputs)["input_ids"], cls(*inputs)["token_type_ids"]) == (
            expected["input_ids"],
            expected["token_type_ids"],
        )
        read = ours(*inputs)
        for ids, types, plain in zip(read["input_ids"], read["token_type_ids"], expected["input_ids"], strict=True):
            assert ids == [*plain[:-1], *ours.label_token_ids, plain[-1]]
            assert len({*types[-4:]}) == 1


def test_a_tokenizer_without_a_frame_around_texts_is_refused(families, tmp_path):
    stock = AutoTokenizer.from_pretrained(families["multilingual-bert"])
    for post_processor, message in (
        (processors.ByteLevel(), "it must be one of TemplateProcessing, BertProcessing, RobertaProcessing"),
        (
            processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]),
            "it must begin and end with a special token",
        ),
    ):
        stock.backend_tokenizer.post_processor = post_processor
        stock.save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        with pytest.raises(ValueError, match=message):
            load(tmp_path)


def test_a_tokenizer_without_padding_is_refused(families, tmp_path):
    backend = AutoTokenizer.from_pretrained(families["multilingual-bert"]).backend_tokenizer
    TokenizersBackend(tokenizer_object=backend).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="has no pad_token: name it in its tokenizer_config.json"):
        load(tmp_path)


def test_a_tokenizer_written_in_python_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("good 10\n")
    (tmp_path / "bpe.codes").write_text("g o 10\n")
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PhobertTokenizer"}')
    with pytest.raises(ValueError, match="is a PhobertTokenizer, which is written in Python"):
        load(tmp_path)


def test_what_transformers_cannot_convert_is_refused_with_its_reason(tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"no model")
    (tmp_path / "config.json").write_text('{"model_type": "xlm-roberta"}')
    with pytest.raises(ValueError, match="Transformers cannot load the tokenizer of .* install sentencepiece$"):
        load(tmp_path)


def test_special_tokens_of_a_backbone_stay_special(families):
    ours = load(families["camembert"])
    assert isinstance(AutoTokenizer.from_pretrained(families["camembert"]), CamembertTokenizer)
    assert ours.extra_special_tokens == [
        *("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
        *("[OPINION1]", "[OPINION2]", "[OPINION3]"),
    ]
    assert ours.decode(ours("good", "price")["input_ids"], skip_special_tokens=True).split() == ["good", "price"]
