from transformers import TrainerState

from bert_multilabel.training.progress import ShortPrinter, short_lines, summary


def test_training_is_told_in_a_line():
    logs = {"loss": 0.11273, "grad_norm": 0.2263, "learning_rate": 9.07e-05, "epoch": 0.37}
    state = TrainerState(global_step=500, max_steps=2714, log_history=[logs])
    expected = "step 500 of 2,714: loss 0.1127, learning rate 9.07e-05, gradient norm 0.226"
    assert short_lines(logs, state) == [expected]


def test_evaluations_make_a_table_with_one_header(capsys):
    logs = {"eval_loss": 0.08193, "eval_hamming_score": 0.5879, "eval_hamming_score_at_half": 0.53, "epoch": 1.0}
    more = {**logs, "eval_micro_f1": 0.6, "eval_macro_f1": 0.5, "eval_samples_f1": 0.4, "epoch": 12.0}
    printer, state = ShortPrinter(), TrainerState(log_history=[logs, more])  # as after a resumption
    printer.on_train_begin(None, state, None)
    for entry in ({"loss": 1.0}, logs, more):
        printer.on_log(None, state, None, entry)
    _, legend, header, first, second = capsys.readouterr().out.splitlines()
    assert "mean samples Jaccard" in legend
    assert header == "epoch    loss  hamming score  at 0.5  micro F1  macro F1"
    assert first == " 1.00  0.0819         0.5879  0.5300"
    assert second == "12.00  0.0819         0.5879  0.5300    0.6000    0.5000"


def test_scores_after_training_are_not_in_the_table(capsys):
    printer, state = ShortPrinter(), TrainerState()
    printer.on_train_begin(None, state, None)
    printer.on_train_end(None, state, None)
    printer.on_log(None, state, None, {"eval_loss": 0.1, "epoch": 1.0})
    assert capsys.readouterr().out == ""


def test_where_nothing_was_printed_for_a_while_the_time_that_is_left_is(capsys, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    printer, state = ShortPrinter(), TrainerState(global_step=100, max_steps=2714)  # as after a resumption
    printer.on_train_begin(None, state, None)
    for step in (110, 135, 160, 165):  # of a second each
        state.global_step, clock[0] = step, 900.0 + step
        printer.on_step_end(None, state, None)
    printer.on_log(None, state, None, {"loss": 0.1})
    state.global_step, clock[0] = 180, 1080.0
    printer.on_step_end(None, state, None)  # the log was 15 seconds ago
    assert capsys.readouterr().out.splitlines() == [
        "step 135 of 2,714: about 42 min 59 s left",
        "step 165 of 2,714: about 42 min 29 s left",
        "step 165 of 2,714: loss 0.1",
    ]


def test_what_says_nothing_new_is_left_out():
    assert short_lines({"train_runtime": 3.0, "total_flos": 1e9}, TrainerState()) == []


def test_of_a_split_the_scores_that_matter_are_shown():
    metrics = {"epoch": 2.0, "eval_hamming_score": 0.5, "eval_samples_f1_at_half": 0.4, "eval_samples": 97}
    assert summary(metrics) == {"epoch": 2.0, "eval_hamming_score": 0.5, "eval_samples": 97}
    assert summary({"train_loss": 0.4, "total_flos": 1e15}) == {"train_loss": 0.4}
