"""The data doctor on small files with known defects, and on clean ones."""

import json
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bert_multilabel.data.spec import DataSpec
from bert_multilabel.doctor.cli import WIDTH, main, render
from bert_multilabel.doctor.examine import SPLIT_OFF, examine
from bert_multilabel.doctor.findings import Severity, Split
from bert_multilabel.doctor.token_lengths import TokenProfiler
from bert_multilabel.loading import from_backbone, read_tokenizer

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = "one two three four five six seven eight nine ten eleven twelve".split()


def clean_rows(count, first=0):
    """Rows with nothing to complain of: different texts, labels that come in all combinations, equally often."""
    for number in range(first, first + count):
        names = [name for bit, name in enumerate(("price", "quality", "gift")) if number >> bit & 1]
        text = f"{NUMBERS[number % 12]} sentence about {NUMBERS[number // 12 % 12]} things of box {number}"
        yield {"text": text, "labels": names}


def edited(changes, count=48):
    """Clean rows, some of them changed by row number."""
    rows = list(clean_rows(count))
    for number, change in changes.items():
        rows[number - 1] = rows[number - 1] | change
    return rows


@pytest.fixture
def save(write):
    return lambda name, rows: write(name, "".join(json.dumps(row) + "\n" for row in rows))


def run_doctor(capsys, tmp_path, *words):
    """Run the command here; return the exit code, what it printed, and its JSON file."""
    path = tmp_path / "found.json"
    code = main([*words, "--json", str(path)])
    return code, capsys.readouterr().out, json.loads(path.read_text(encoding="utf-8"))


def found(path, kind, spec=None, **files):
    """Return the findings of one kind."""
    result = examine(spec or DataSpec(), {"train": path, **files})
    return [finding for finding in result.findings if finding.kind == kind]


def only(path, kind, **options):
    (finding,) = found(path, kind, **options)
    return finding


def test_a_clean_file_gives_no_warning(save, tmp_path, capsys):
    files = [save("train.jsonl", clean_rows(96)), save("validation.jsonl", clean_rows(48, first=96))]
    code, text, content = run_doctor(capsys, tmp_path, files[0], "--validation_file", files[1])
    assert code == 0
    assert content["findings"] == []
    assert "Findings: 0 errors, 0 warnings, 0 notes" in text
    alone, _, split_off = run_doctor(capsys, tmp_path, files[0])
    assert (alone, split_off["errors"], split_off["warnings"]) == (0, 0, 0)


def test_rows_and_labels_are_counted(save, tmp_path, capsys):
    rows = [{**row, "text_pair": "box" if number < 12 else ""} for number, row in enumerate(clean_rows(48))]
    code, text, content = run_doctor(capsys, tmp_path, save("a.jsonl", [*rows, rows[0]]))
    train, split_off = content["summaries"]
    assert {name: train[name] for name in ("rows", "texts", "with_pair", "unlabelled")} == {
        "rows": 49,
        "texts": 48,
        "with_pair": 13,
        "unlabelled": 7,
    }
    assert train["rows_by_labels"] == {"0": 7, "1": 18, "2": 18, "3": 6}
    assert train["labels_per_row"] == pytest.approx(72 / 49)
    assert (split_off["split"], split_off["rows"]) == (SPLIT_OFF, 6)
    price = next(label for label in content["labels"] if label["label"] == "price")
    assert price["positives"]["train"] == 24
    assert price["shares"]["train"] == pytest.approx(24 / 49)
    assert price["annotated"] == {"train": 1, SPLIT_OFF: 1}
    assert "train        49     48        27%          7        1.47" in text
    assert "price       24  49.0%" in text


def test_not_annotated_cells_are_no_negatives(write):
    path = write(
        "a.csv", "text,rude,spam\n" + "".join(f"text number {i},{i % 2},{['', 1, 0][i % 3]}\n" for i in range(60))
    )
    result = examine(DataSpec(), {"train": path})
    rude, spam = result.labels
    assert (rude.label, rude.annotated["train"], rude.shares["train"]) == ("rude", 1, 0.5)
    assert (spam.label, spam.annotated["train"], spam.shares["train"]) == ("spam", pytest.approx(2 / 3), 0.5)
    assert "annotated" in "\n".join(render(result))


@pytest.mark.parametrize(
    ("text", "kind", "severity"),
    [
        ("caf\ufffd on the corner", "replacement-characters", Severity.WARNING),
        ("cafÃ© on the corner", "mojibake", Severity.WARNING),
        ("itâ€™s on the corner", "mojibake", Severity.WARNING),
        ("on the<br/>corner", "markup", Severity.WARNING),
        ("salt &amp; pepper", "markup", Severity.WARNING),
        ("on\x07 the corner", "control-characters", Severity.NOTE),
        ("https://example.org/a www.example.org", "links-only", Severity.WARNING),
        ("Thanks!!", "short-texts", Severity.NOTE),
        ("very " * 60 + "long", "long-texts", Severity.NOTE),
    ],
)
def test_suspicious_texts_are_found_with_their_rows(save, text, kind, severity):
    finding = only(save("a.jsonl", edited({7: {"text": text}, 30: {"text": f"{text} "}})), kind)
    assert (finding.severity, finding.rows, finding.rows_total) == (severity, [7, 30], 2)
    assert "row 7: " in finding.examples[0]
    assert finding.message.startswith("2 ")


@pytest.mark.parametrize("text", ["价格太贵了", "a < b and c > d", "AT&T; Señor Â", "see https://example.org", "été"])
def test_ordinary_texts_are_not_suspicious(save, text):
    kinds = ("replacement-characters", "mojibake", "markup", "control-characters", "links-only", "long-texts")
    path = save("a.jsonl", edited({7: {"text": text}}))
    assert not [finding for kind in kinds for finding in found(path, kind)]
    assert bool(found(path, "short-texts")) == (text == "été")


def test_the_place_of_a_match_is_quoted(save):
    finding = only(save("a.jsonl", edited({7: {"text": "word " * 40 + "<b>here</b>"}})), "markup")
    assert "<b>here</b>" in finding.examples[0]


def test_rows_with_all_labels_are_found(save):
    everything = {"labels": ["price", "quality", "gift", "d", "e"]}
    finding = only(save("a.jsonl", edited({8: everything, 40: everything})), "all-labels")
    assert finding.rows == [8, 40]
    assert finding.message == "2 rows have all 5 labels at once"
    # With few labels it is nothing special.
    assert not found(save("b.jsonl", clean_rows(48)), "all-labels")


def test_repeated_texts(save):
    rows = edited({})
    rows += [rows[4], rows[4] | {"text": f"  {rows[4]['text'].upper()}"}, rows[5] | {"labels": ["gift"]}]
    path = save("a.jsonl", rows)
    assert only(path, "duplicates").rows == [49, 50]
    assert only(path, "respelled").rows == [50]
    conflict = only(path, "conflicting-labels")
    assert conflict.rows == [6, 51]
    assert conflict.examples == [f"row 6: {rows[5]['text']!r} and row 51: 'price' only in row 6"]


def test_text_and_json_agree(save, tmp_path, capsys):
    rows = edited({3: {"text": "salt &amp; pepper"}, 9: {"text": "Thanks"}, 12: {"labels": ["Price"]}})
    _, text, content = run_doctor(capsys, tmp_path, save("a.jsonl", [*rows, rows[20]]))
    kinds = [finding["kind"] for finding in content["findings"]]
    assert kinds == ["markup", "duplicates", "few-positives", "same-name", "unseen-in-validation", "short-texts"]
    assert (content["errors"], content["warnings"], content["notes"]) == (0, 5, 1)
    assert "Findings: 0 errors, 5 warnings, 1 note" in text
    words = " ".join(text.split())
    for finding in content["findings"]:
        assert f"{finding['severity']}: {finding['message']}" in words
        assert f"-> {finding['advice']}" in words
        assert not finding["rows"] or f"row {finding['rows'][0]}" in words


def test_row_numbers_are_cut_but_counted(save, monkeypatch):
    monkeypatch.setattr("bert_multilabel.doctor.findings.ROWS_LISTED", 3)
    finding = only(
        save("a.jsonl", edited({number: {"text": f"word{number}"} for number in range(5, 10)})), "short-texts"
    )
    assert (finding.rows, finding.rows_total) == ([5, 6, 7], 5)


def test_another_pair_is_another_text(save):
    rows = [row | {"text": "the same", "text_pair": f"box {number}"} for number, row in enumerate(clean_rows(48))]
    path = save("a.jsonl", rows)
    assert not found(path, "duplicates") + found(path, "conflicting-labels")


def test_what_nobody_annotated_is_no_conflict(write):
    rows = "".join(f"text number {number},{number % 2},{number % 3 % 2}\n" for number in range(30))
    path = write("a.csv", f"text,a,b\n{rows}twice,1,\ntwice,1,0\ntwice,,0\n")
    assert not found(path, "conflicting-labels")
    assert only(write("b.csv", f"text,a,b\n{rows}twice,1,\ntwice,0,0\n"), "conflicting-labels").rows == [31, 32]


def test_leaks_are_found(save):
    train, validation, test = list(clean_rows(48)), list(clean_rows(48, 48)), list(clean_rows(48, 96))
    validation[2] = train[9] | {"text": train[9]["text"].replace(" ", "  ")}
    test[3:7] = [train[0], train[1], train[2], validation[5]]
    files = {"validation": save("b.jsonl", validation), "test": save("c.jsonl", test)}
    found_leaks = found(save("a.jsonl", train), "leaks", **files)
    by_file = {(Path(leak.source).name, leak.message): leak for leak in found_leaks}
    assert {names: leak.rows for names, leak in by_file.items()} == {
        ("b.jsonl", "1 row of validation (2.08%) with a text of train"): [3],
        ("c.jsonl", "3 rows of test (6.25%) with a text of train"): [4, 5, 6],
        ("c.jsonl", "1 row of test (2.08%) with a text of validation"): [7],
    }
    # Only the larger one decides what the score says.
    assert [leak.severity for leak in found_leaks] == [Severity.ERROR, Severity.WARNING, Severity.WARNING]
    assert found_leaks[0].examples[0].endswith("is row 1 of train")


def test_the_part_that_would_be_split_off_has_no_leaks(save):
    rows = list(clean_rows(48))
    result = examine(DataSpec(), {"train": save("a.jsonl", rows + rows)})
    kinds = {finding.kind for finding in result.findings}
    assert "duplicates" in kinds and "leaks" not in kinds
    assert result.summaries[1].rows == 10
    tiny = examine(DataSpec(), {"train": save("b.jsonl", rows[1:2] * 20)})
    assert "no-split" in {finding.kind for finding in tiny.findings}


def test_labels_of_which_little_can_be_learned(save, write):
    rows = edited(
        {number: {"labels": ["always", "gift", *(["rare"] if number < 10 else [])]} for number in range(1, 49)}
    )
    names = write("names.txt", "always\ngift\nnever\nrare\n")
    for row in rows[20:30]:
        row["labels"] = ["always"]
    spec = DataSpec(label_names=Path(names).read_text().split())
    path = save("a.jsonl", rows)
    kinds = {kind: only(path, kind, spec=spec).labels for kind in ("no-positives", "few-positives", "always-on")}
    assert kinds == {"no-positives": ["never"], "few-positives": ["rare"], "always-on": ["always"]}
    assert only(path, "few-positives", spec=spec).message == "1 label has fewer than 10 rows: 'rare'"


@pytest.mark.parametrize("form", ["|", ", ", " ", "0/1"])
def test_a_column_that_spells_the_labels_is_an_error(save, form):
    def spell(names):
        bits = [str(int(name in names)) for name in ("gift", "price", "quality")]
        return ";".join(bits) if form == "0/1" else form.join(names)

    rows = [row | {"target": spell(row["labels"])} for row in clean_rows(48)]
    path = save("a.jsonl", rows)
    finding = only(path, "spelled-labels", spec=DataSpec(text_pair_column="target"))
    assert finding.severity is Severity.ERROR
    assert finding.rows_total == (48 if form == "0/1" else 42)  # an empty cell spells nothing
    assert "in the second text" in finding.message and finding.examples[0].startswith(f"row {finding.rows[0]}: '")
    assert not found(path, "spelled-labels")
    filled = save("b.jsonl", [row for row in rows if row["target"]])
    assert "in the text" in only(filled, "spelled-labels", spec=DataSpec(text_column="target")).message


def test_a_column_of_numbers_is_a_warning(save):
    rows = [row | {"score": f"{number / 48:.2f}"} for number, row in enumerate(clean_rows(48))]
    path = save("a.jsonl", rows)
    finding = only(path, "numbers", spec=DataSpec(text_pair_column="score"))
    assert finding.severity is Severity.WARNING and "second text" in finding.message
    assert finding.examples[0].endswith("| 0.00'")
    assert not found(path, "numbers")


def test_suspicious_label_names(save):
    rows = edited(
        {
            **{3: {"labels": ["qualty"]}, 5: {"labels": ["Too Expensive"]}, 7: {"labels": ["too_expensive"]}},
            **{number: {"labels": ["delivery"]} for number in range(9, 20)},
            **{number: {"labels": ["delivers"]} for number in range(20, 28)},
            **{1: {"labels": ["c"]}, 2: {"labels": ["c++"]}, 4: {"labels": ["level 1"]}, 6: {"labels": ["level 2"]}},
        },
        count=96,
    )
    path = save("a.jsonl", rows)
    assert only(path, "same-name").examples == ["'Too Expensive' (1 row) and 'too_expensive' (1 row)"]
    quality = sum("quality" in row["labels"] for row in rows)
    assert only(path, "misspelt-name").examples == [f"'quality' ({quality} rows) and 'qualty' (1 row)"]
    assert only(path, "like-name").examples == ["'delivers' (8 rows) and 'delivery' (11 rows)"]


def test_labels_that_go_together(save):
    changes = {number: {"labels": ["a", "b"]} for number in range(1, 21)}
    changes |= {number: {"labels": ["c", "d"]} for number in range(21, 31)}
    changes |= {number: {"labels": ["d"]} for number in range(31, 45)}
    path = save("a.jsonl", edited(changes | {number: {"labels": []} for number in range(45, 49)}))
    pairs = examine(DataSpec(), {"train": path}).pairs
    assert [(pair.labels, pair.rows, pair.share) for pair in pairs] == [(("a", "b"), 20, 1), (("c", "d"), 10, 1)]
    assert [pair.lift for pair in pairs] == pytest.approx([20 * 48 / 20 / 20, 10 * 48 / 10 / 24])
    assert only(path, "equivalent-labels").examples == ["'a' (20) and 'b' (20): 20 rows with both"]
    assert only(path, "implied-labels").examples == ["'c' (10) implies 'd' (24): 10 rows with both"]


def test_shares_that_differ_between_the_splits(save):
    train = save("a.jsonl", edited({number: {"labels": ["price", "unseen"]} for number in range(1, 13)}))
    validation = [row | {"labels": [name for name in row["labels"] if name != "gift"]} for row in clean_rows(48, 48)]
    validation[0]["labels"] = ["gift"] * 1
    files = {"validation": save("b.jsonl", validation)}
    assert only(train, "unseen-in-validation", **files).labels == ["unseen"]
    differs = only(train, "shares-differ", **files)
    assert differs.labels[0] == "gift"
    gift = sum("gift" in json.loads(line)["labels"] for line in Path(train).read_text().splitlines())
    assert differs.examples[0] == f"'gift': 1 row, {gift:.1f} expected"


def test_bad_rows_of_all_files_are_reported(save, tmp_path, capsys):
    train = save("a.jsonl", edited({number: {"text": " " * number} for number in range(3, 28)}))
    validation = save("b.jsonl", [{"text": "good", "labels": ["prise"]}])
    code, text, content = run_doctor(capsys, tmp_path, train, "--validation_file", validation)
    assert (code, content["errors"], content["summaries"]) == (1, 2, [])
    first, second = content["findings"]
    assert [finding["kind"] for finding in content["findings"]] == ["bad-rows", "bad-rows"]
    assert len(first["examples"]) == 25
    assert first["examples"][24].startswith(f"{train}, row 27 (line 27), column 'text': the text is missing")
    assert second["examples"] == [
        f"{validation}, row 1 (line 1), column 'labels': unknown label 'prise'; did you mean 'price'?; "
        "or leave such labels out by --ignore_unknown_labels"
    ]
    assert "error: 25 problems in the rows" in text
    assert "did you mean 'price'?" in " ".join(text.split())  # where a line breaks depends on the path


def test_a_file_that_cannot_be_read_is_an_error_in_the_data(write, capsys):
    assert main([write("a.csv", "words,labels\ngood,a\n")]) == 1
    assert "no column looks like the text" in " ".join(capsys.readouterr().out.split())


def test_a_file_to_predict_may_have_no_labels_and_empty_texts(save):
    test = save("c.jsonl", [{"text": "good thing"}, {"text": ""}, {"text": ""}])
    result = examine(DataSpec(), {"train": save("a.jsonl", clean_rows(48)), "test": test})
    assert (result.summaries[-1].split, result.summaries[-1].unlabelled) == ("test", None)
    (empty,) = [finding for finding in result.findings if finding.source == test and finding.kind == "empty-texts"]
    assert empty.rows == [2, 3]
    assert "duplicates" not in {finding.kind for finding in result.findings}


def test_lengths_in_tokens_count_label_tokens(save, backbone, tmp_path, capsys):
    path = save("a.jsonl", edited({5: {"text": "price " * 60}, 9: {"text": "price " * 58}}))
    model = ("--model_name_or_path", str(backbone), "--label_column", "labels")
    lengths, cut = {}, {}
    for options in (["--strategy", "cls"], ["--strategy", "label_tokens"], ["--label_attention", "isolated"]):
        _, text, content = run_doctor(capsys, tmp_path, path, *model, *options)
        name = options[1]
        lengths[name] = content["lengths"][0]
        cut[name] = [finding["rows"] for finding in content["findings"] if finding["kind"] == "cut-texts"]
        assert content["label_tokens"] == (3 if name == "label_tokens" else 0)
        assert ("label tokens included: 3" in text) == (name == "label_tokens")
    # 60 words, [CLS] and [SEP] fit into 64; with 3 label tokens only 59 words do.
    assert {name: item["longest"] for name, item in lengths.items()} == {"cls": 62, "label_tokens": 65, "isolated": 62}
    assert {item["limit"] for item in lengths.values()} == {64}
    _, _, short = run_doctor(capsys, tmp_path, path, *model, "--strategy", "cls", "--max_seq_length", "60")
    assert short["lengths"][0]["over"] >= 1
    assert [5] in [rows[:1] for rows in cut["label_tokens"]]


def test_long_rows_that_are_read_in_windows_are_no_warning(save, backbone, tmp_path, capsys):
    path = save("a.jsonl", edited({5: {"text": "price " * 70}}))
    words = (path, "--model_name_or_path", str(backbone), "--strategy", "cls", "--stride")
    _, text, content = run_doctor(capsys, tmp_path, *words, "8")
    (finding,) = [finding for finding in content["findings"] if finding["kind"] in ("cut-texts", "window-texts")]
    assert finding["severity"] == "note" and finding["rows"] == [5]
    assert finding["message"] == "1 row is longer than 64 tokens: 2.1% of train would be read in windows"
    assert text.rstrip().endswith("--stride 8")
    with pytest.raises(SystemExit):
        main([*words, "62"])
    assert "stride=62 must be less than 62" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([path, "--stride", "0"])
    assert "--stride needs --model_name_or_path" in capsys.readouterr().err


def test_the_command_trains_with_the_options_that_the_doctor_was_given(save, backbone, tmp_path, capsys):
    path = save("a.jsonl", edited({}))
    options = ("--strategy", "label_tokens", "--label_layers", "1", "--max_seq_length", "60", "--seed", "7")
    _, text, _ = run_doctor(capsys, tmp_path, path, "--model_name_or_path", str(backbone), *options)
    command = text.rstrip().rsplit("\n", 1)[1]
    assert set(options) <= set(shlex.split(command))
    assert "--validation_fraction" not in command


def test_lengths_are_those_of_the_encoded_rows(save, backbone):
    texts, pairs = ["good price", "the quality is good"], ["gift", ""]
    rows = Split.of("train", "a", pa.table({"text": texts, "pair": pairs}))
    for strategy in ("cls", "label_tokens"):
        _, tokenizer = from_backbone(backbone, ["a", "b"], strategy)
        expected = [len(ids) for ids in tokenizer(texts, pairs)["input_ids"]]
        assert TokenProfiler(*read_tokenizer(backbone, ["a", "b"], strategy)).measure(rows).tolist() == expected


def test_260_labels_fit_into_80_columns(save, tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    names = [f"group-{number // 20}::label-{number}-with-a-name-that-is-rather-long" for number in range(260)]
    rows = [
        {"text": f"text number {number}", "labels": sorted({names[i] for i in generator.integers(0, 260, 4)})}
        for number in range(2000)
    ]
    save("a.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    result = examine(DataSpec(), {"train": "a.jsonl"})
    lines = list(render(result))
    assert "240 more" in "\n".join(lines)
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) < 100
    assert len(result.as_json()["labels"]) == 260


@pytest.mark.parametrize("words", [".", "*.jsonl"])
def test_a_folder_or_pattern_of_files(save, capsys, caplog, monkeypatch, words):
    save("a.jsonl", clean_rows(24))
    monkeypatch.chdir(Path(save("b.jsonl", clean_rows(24, 24))).parent)
    assert main([words]) == 0
    assert "2 files" in caplog.text and "48 rows" in caplog.text
    assert f"bert-multilabel train {shlex.quote(words)} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: FILE"),
        (["missing.csv"], "there is no file 'missing.csv'"),
        (["missing-*.csv"], "there is no file like 'missing-*.csv'"),
        (["FILE", "--validation_fil", "x"], "unknown arguments: --validation_fil x; check the spelling"),
        (["FILE", "--validation_fraction", "1"], "must be above 0 and below 1, got 1.0"),
        (["FILE", "--strategy", "cls"], "--strategy needs --model_name_or_path"),
        (["FILE", "--max_seq_length", "9"], "--max_seq_length needs --model_name_or_path"),
        (["FILE", "--label_names_file", "none.txt"], "there is no file 'none.txt'"),
        (["FILE", "--model_name_or_path", "BERT", "--max_seq_length", "65"], "max_seq_length=65 is more than the 64"),
        (["FILE", "--model_name_or_path", "BERT", "--max_seq_length", "4"], "leaves no room for text besides 3 label"),
    ],
)
def test_wrong_arguments(save, backbone, capsys, words, message):
    path = save("a.jsonl", clean_rows(48))
    words = [{"FILE": path, "BERT": str(backbone)}.get(word, word) for word in words]
    with pytest.raises(SystemExit) as error:
        main(words)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_the_bundled_example_is_in_good_health(capsys):
    example = ROOT / "examples" / "purchase_intent"
    files = [str(example / "train.csv"), "--validation_file", str(example / "validation.csv")]
    assert main([*files, "--test_file", str(example / "test.csv"), "--text_pair_column", "product"]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


def test_the_command(write, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["doctor", write("a.csv", "text,labels\n,a\n")])
    monkeypatch.delitem(
        sys.modules, "bert_multilabel.doctor.__main__", raising=False
    )  # run_module wants to be the first
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("bert_multilabel.doctor", run_name="__main__")
    assert ended.value.code == 1
    assert "the text is missing ('')" in capsys.readouterr().out
