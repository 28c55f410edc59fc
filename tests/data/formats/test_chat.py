import pytest

from bert_multilabel.data.formats import chat
from bert_multilabel.data.spec import DataSpec
from bert_multilabel.data.values import BadValue
from bert_multilabel.errors import DataError

QUESTION = {"role": "user", "content": "A cheap gift"}
ANSWER = {"role": "assistant", "content": "price, gift"}


@pytest.mark.parametrize(
    ("row", "reason", "form"),
    [
        ({"messages": [QUESTION, ANSWER]}, "'messages' with 'role' and 'content'", "conversations in 'messages'"),
        (
            {"id": 1, "conversations": [{"from": "human", "value": "A cheap gift"}, {"from": "gpt", "value": "gift"}]},
            "'conversations' with 'from' and 'value'",
            "conversations in 'conversations'",
        ),
        (
            {"instruction": "Name the topics", "input": "A cheap gift", "output": "price, gift"},
            "'instruction' and 'output'",
            "rows of 'instruction' and 'output'",
        ),
        (
            {"prompt": "A cheap gift", "completion": "price, gift"},
            "'prompt' and 'completion'",
            "rows of 'prompt' and 'completion'",
        ),
    ],
)
def test_chat_data_is_refused(row, reason, form):
    assert chat.recognizes([row, row]) == f"rows have {reason}"
    with pytest.raises(DataError, match=f"^{form} are made for chat models: write rows") as caught:
        chat.read(row, DataSpec())
    assert not isinstance(caught.value, BadValue)


@pytest.mark.parametrize(
    "rows",
    [
        [{"messages": ["A cheap gift"], "labels": ["price"]}],
        [{"messages": [], "labels": []}],
        [{"messages": "A cheap gift", "labels": ["price"]}],
        [{"instruction": "Pack it as a gift", "output": "done", "labels": ["gift"]}],
        [{"prompt": "A cheap gift", "labels": ["price"]}],
        [{"input": "A cheap gift", "output": "price"}],
    ],
)
def test_plain_rows_are_not_recognized(rows):
    assert chat.recognizes(rows) is None
