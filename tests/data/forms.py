# ruff: noqa: E501
"""The same six reviews in the forms that files have; docs/data.md shows them, and tests read them.

`python -m tests.data.forms` writes docs/data.md.
"""

import gzip
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEXTS = [
    "Great value for the price",
    "I bought it as a present",
    "Cheap, and my sister loved it",
    "It broke after a day",
    "Solid, but far too expensive",
    "Arrived on Monday",
]
LABELS = [["price"], ["gift"], ["gift", "price"], ["quality"], ["price", "quality"], []]
NAMES = ["gift", "price", "quality"]
DOC = Path(__file__).parents[2] / "docs" / "data.md"


@dataclass(frozen=True, kw_only=True)
class Form:
    """A file in one form.

    Attributes:
        chapter: Where docs/data.md shows it.
        title: What it is.
        name: Of the file.
        content: Of the file.
        known: The attributes of `DataSpec` that it needs.
        names_file: Name and content of a file of label names that it needs.
        labels: The labels of each text; by default `LABELS`.
        texts: By default `TEXTS`.
        asks: A phrase of the error without the options, where they are needed.
    """

    chapter: str
    title: str
    name: str
    content: str
    known: dict[str, Any] = field(default_factory=dict)
    names_file: tuple[str, str] | None = None
    labels: list[Any] = field(default_factory=lambda: LABELS)
    texts: list[str] = field(default_factory=lambda: TEXTS)
    asks: str = ""

    def write(self, folder: Path) -> str:
        """Write the file into a folder, and return its path."""
        path = folder / self.name
        path.write_bytes(gzip.compress(self.content.encode()) if path.suffix == ".gz" else self.content.encode())
        return str(path)


TABLES, CELLS, COLUMNS, JSON, EXPORTS, SEVERAL = (
    "Tables",
    "Label cells",
    "Label columns",
    "JSON",
    "Annotation tools and other libraries",
    "Several rows of one text",
)
_NAMES_TXT = ("names.txt", "gift\nprice\nquality\n")


def _form(chapter: str, title: str, name: str, content: str, **other: Any) -> Form:
    return Form(chapter=chapter, title=title, name=name, content=textwrap.dedent(content).lstrip("\n"), **other)


FORMS = [
    _form(
        TABLES,
        "csv, labels joined by `|`",
        "reviews.csv",
        """
        text,labels
        Great value for the price,price
        I bought it as a present,gift
        "Cheap, and my sister loved it",gift|price
        It broke after a day,quality
        "Solid, but far too expensive",price|quality
        Arrived on Monday,
        """,
    ),
    _form(
        TABLES,
        "tsv with ids",
        "reviews.tsv",
        """
        id\ttext\tlabels
        r1\tGreat value for the price\tprice
        r2\tI bought it as a present\tgift
        r3\tCheap, and my sister loved it\tgift;price
        r4\tIt broke after a day\tquality
        r5\tSolid, but far too expensive\tprice;quality
        r6\tArrived on Monday\t
        """,
    ),
    _form(
        TABLES,
        "csv as Excel writes it in many countries",
        "excel.csv",
        """
        sep=;
        Review;Tags
        Great value for the price;price
        I bought it as a present;gift
        Cheap, and my sister loved it;gift, price
        It broke after a day;quality
        Solid, but far too expensive;price, quality
        Arrived on Monday;
        """,
    ),
    _form(
        TABLES,
        "a file without a header line",
        "raw.tsv",
        """
        Great value for the price\tprice\tr1
        I bought it as a present\tgift\tr2
        Cheap, and my sister loved it\tgift|price\tr3
        It broke after a day\tquality\tr4
        Solid, but far too expensive\tprice|quality\tr5
        Arrived on Monday\t\tr6
        """,
        known={"column_names": ["text", "labels", "id"]},
        asks="--column_names",
    ),
    _form(
        TABLES,
        "a comment above the header, and quotes escaped by backslashes",
        "spark.csv",
        r"""
        # exported in May
        text,labels
        "Great \"value\" for the price",price
        "I bought it as a present",gift
        "Cheap, and my sister loved it",gift|price
        "It broke after a day",quality
        "Solid, but far too \"expensive\"",price|quality
        "Arrived on Monday",
        """,
        texts=['Great "value" for the price', *TEXTS[1:4], 'Solid, but far too "expensive"', TEXTS[5]],
    ),
    _form(
        TABLES,
        "lone quotes in a tsv are no quoting",
        "quotes.tsv",
        """
        text\tlabels
        Great value for the price\tprice
        "I bought it as a present\tgift
        Cheap, and my sister loved it\tgift|price
        It broke after a day"\tquality
        Solid, but far too expensive\tprice|quality
        Arrived on Monday\t
        """,
        texts=[TEXTS[0], '"I bought it as a present', TEXTS[2], 'It broke after a day"', *TEXTS[4:]],
    ),
    _form(
        TABLES,
        "compressed",
        "reviews.csv.gz",
        """
        text,labels
        Great value for the price,price
        I bought it as a present,gift
        "Cheap, and my sister loved it",gift|price
        It broke after a day,quality
        "Solid, but far too expensive",price|quality
        Arrived on Monday,
        """,
    ),
    _form(
        TABLES,
        "title and body, joined",
        "posts.csv",
        """
        title,body,labels
        Great,value for the price,price
        I bought,it as a present,gift
        "Cheap, and",my sister loved it,gift|price
        It broke,after a day,quality
        "Solid, but",far too expensive,price|quality
        Arrived,on Monday,
        """,
        known={"text_column": ["title", "body"]},
        texts=[
            "Great\nvalue for the price",
            "I bought\nit as a present",
            "Cheap, and\nmy sister loved it",
            "It broke\nafter a day",
            "Solid, but\nfar too expensive",
            "Arrived\non Monday",
        ],
    ),
    _form(
        CELLS,
        "any separator, if all parts are labels by themselves in other rows",
        "hash.csv",
        """
        text,label
        Great value for the price,price
        I bought it as a present,gift
        "Cheap, and my sister loved it",gift#price
        It broke after a day,quality
        "Solid, but far too expensive",price#quality
        Arrived on Monday,
        """,
    ),
    _form(
        CELLS,
        "a comma that may belong to names is asked for",
        "commas.csv",
        """
        text,labels
        Great value for the price,price
        I bought it as a present,gift
        "Cheap, and my sister loved it","gift,sister"
        It broke after a day,"quality,returned"
        "Solid, but far too expensive","price,quality"
        Arrived on Monday,
        """,
        known={"label_delimiter": ","},
        labels=[["price"], ["gift"], ["gift", "sister"], ["quality", "returned"], ["price", "quality"], []],
        asks="--label_delimiter ','",
    ),
    _form(
        CELLS,
        "lists of Python, JSON or numpy in a cell",
        "lists.csv",
        """
        text,labels
        Great value for the price,['price']
        I bought it as a present,"[""gift""]"
        "Cheap, and my sister loved it",['gift' 'price']
        It broke after a day,['quality']
        "Solid, but far too expensive","['price', 'quality']"
        Arrived on Monday,[]
        """,
    ),
    _form(
        CELLS,
        "sets of Python, and arrays of Postgres",
        "sets.csv",
        """
        text,labels
        Great value for the price,{price}
        I bought it as a present,{'gift'}
        "Cheap, and my sister loved it","{'price', 'gift'}"
        It broke after a day,{quality}
        "Solid, but far too expensive","{price,quality}"
        Arrived on Monday,{}
        """,
    ),
    _form(
        CELLS,
        "tags of Stack Exchange",
        "Posts.csv",
        """
        Id,Body,Tags
        1,Great value for the price,<price>
        2,I bought it as a present,<gift>
        3,"Cheap, and my sister loved it",<gift><price>
        4,It broke after a day,<quality>
        5,"Solid, but far too expensive",<price><quality>
        6,Arrived on Monday,
        """,
    ),
    _form(
        CELLS,
        "vectors of zeros and ones, with the names in their order",
        "vectors.csv",
        """
        text,labels
        Great value for the price,"[0, 1, 0]"
        I bought it as a present,"[1, 0, 0]"
        "Cheap, and my sister loved it","[1, 1, 0]"
        It broke after a day,"[0, 0, 1]"
        "Solid, but far too expensive","[0, 1, 1]"
        Arrived on Monday,"[0, 0, 0]"
        """,
        names_file=_NAMES_TXT,
        asks="vectors of 3 numbers without names",
    ),
    _form(
        CELLS,
        "digits in a row",
        "digits.csv",
        """
        text,labels
        Great value for the price,010
        I bought it as a present,100
        "Cheap, and my sister loved it",110
        It broke after a day,001
        "Solid, but far too expensive",011
        Arrived on Monday,000
        """,
        names_file=_NAMES_TXT,
        asks="vectors of 3 numbers without names",
    ),
    _form(
        CELLS,
        "ids joined by commas, with a table of names",
        "ids.csv",
        """
        text,labels
        Great value for the price,1
        I bought it as a present,0
        "Cheap, and my sister loved it","0,1"
        It broke after a day,2
        "Solid, but far too expensive","1,2"
        Arrived on Monday,
        """,
        names_file=("names.csv", "id,label\n0,gift\n1,price\n2,quality\n"),
        asks="numbers in place of names",
    ),
    _form(
        CELLS,
        "words for a missing value are no labels",
        "missing.csv",
        r"""
        text,labels
        Great value for the price,price
        I bought it as a present,gift
        "Cheap, and my sister loved it",gift|price
        It broke after a day,quality
        "Solid, but far too expensive",price|quality
        Arrived on Monday,None
        """,
    ),
    _form(
        COLUMNS,
        "one 0/1 column per label",
        "columns.csv",
        """
        id,text,gift,price,quality
        1,Great value for the price,0,1,0
        2,I bought it as a present,1,0,0
        3,"Cheap, and my sister loved it",1,1,0
        4,It broke after a day,0,0,1
        5,"Solid, but far too expensive",0,1,1
        6,Arrived on Monday,0,0,0
        """,
    ),
    _form(
        COLUMNS,
        'marks, and blanks that cannot mean "not annotated"',
        "marks.csv",
        """
        text,gift,price,quality
        Great value for the price,,x,
        I bought it as a present,x,,
        "Cheap, and my sister loved it",x,x,
        It broke after a day,,,x
        "Solid, but far too expensive",,x,x
        Arrived on Monday,,,
        """,
    ),
    _form(
        COLUMNS,
        "other columns of 0 and 1 are asked about",
        "flags.csv",
        """
        text,is_verified,gift,price,quality
        Great value for the price,1,0,1,0
        I bought it as a present,1,1,0,0
        "Cheap, and my sister loved it",0,1,1,0
        It broke after a day,1,0,0,1
        "Solid, but far too expensive",0,0,1,1
        Arrived on Monday,1,0,0,0
        """,
        known={"label_column": ["gift", "price", "quality"]},
        asks="'is_verified' may be labels or not",
    ),
    _form(
        COLUMNS,
        "votes",
        "votes.csv",
        """
        text,gift,price,quality
        Great value for the price,0,3,1
        I bought it as a present,2,0,0
        "Cheap, and my sister loved it",3,2,0
        It broke after a day,0,1,3
        "Solid, but far too expensive",0,2,2
        Arrived on Monday,1,0,0
        """,
        known={"label_values": "votes>=2"},
        asks="--label_values shares or 'votes>=2'",
    ),
    _form(
        COLUMNS,
        "shares, as soft labels",
        "shares.csv",
        """
        text,gift,price,quality
        Great value for the price,0,1,0.25
        I bought it as a present,0.75,0,0
        "Cheap, and my sister loved it",1,0.75,0
        It broke after a day,0,0.25,1
        "Solid, but far too expensive",0,0.75,0.75
        Arrived on Monday,0.25,0,0
        """,
        known={"label_values": "shares"},
        labels=[[0, 1, 0.25], [0.75, 0, 0], [1, 0.75, 0], [0, 0.25, 1], [0, 0.75, 0.75], [0.25, 0, 0]],
        asks="--label_values shares or 'votes>=2'",
    ),
    _form(
        COLUMNS,
        "one name in each of several columns",
        "several.csv",
        """
        text,label1,label2
        Great value for the price,price,
        I bought it as a present,gift,
        "Cheap, and my sister loved it",gift,price
        It broke after a day,quality,
        "Solid, but far too expensive",price,quality
        Arrived on Monday,,
        """,
    ),
    _form(
        JSON,
        "JSON lines",
        "reviews.jsonl",
        """
        {"text": "Great value for the price", "labels": ["price"]}
        {"text": "I bought it as a present", "labels": ["gift"]}
        {"text": "Cheap, and my sister loved it", "labels": ["gift", "price"]}
        {"text": "It broke after a day", "labels": ["quality"]}
        {"text": "Solid, but far too expensive", "labels": ["price", "quality"]}
        {"text": "Arrived on Monday", "labels": []}
        """,
    ),
    _form(
        JSON,
        "rows under a key",
        "nested.json",
        """
        {"version": 2, "reviews": [
          {"text": "Great value for the price", "labels": ["price"]},
          {"text": "I bought it as a present", "labels": ["gift"]},
          {"text": "Cheap, and my sister loved it", "labels": ["gift", "price"]},
          {"text": "It broke after a day", "labels": ["quality"]},
          {"text": "Solid, but far too expensive", "labels": ["price", "quality"]},
          {"text": "Arrived on Monday", "labels": []}
        ]}
        """,
    ),
    _form(
        JSON,
        "labels as objects with names",
        "objects.jsonl",
        """
        {"text": "Great value for the price", "labels": [{"id": 7, "name": "price"}]}
        {"text": "I bought it as a present", "labels": [{"id": 3, "name": "gift"}]}
        {"text": "Cheap, and my sister loved it", "labels": [{"id": 3, "name": "gift"}, {"id": 7, "name": "price"}]}
        {"text": "It broke after a day", "labels": [{"id": 9, "name": "quality"}]}
        {"text": "Solid, but far too expensive", "labels": [{"id": 7, "name": "price"}, {"id": 9, "name": "quality"}]}
        {"text": "Arrived on Monday", "labels": []}
        """,
    ),
    _form(
        JSON,
        "texts as lists, joined on request",
        "words.jsonl",
        """
        {"text": ["Great value", "for the price"], "labels": ["price"]}
        {"text": ["I bought it", "as a present"], "labels": ["gift"]}
        {"text": ["Cheap, and my sister", "loved it"], "labels": ["gift", "price"]}
        {"text": ["It broke", "after a day"], "labels": ["quality"]}
        {"text": ["Solid, but", "far too expensive"], "labels": ["price", "quality"]}
        {"text": ["Arrived", "on Monday"], "labels": []}
        """,
        known={"join_lists": True},
        asks="--join_lists",
    ),
    _form(
        EXPORTS,
        "doccano, with ids in `annotations`",
        "doccano.jsonl",
        """
        {"id": 1, "text": "Great value for the price", "meta": {}, "annotations": [{"label": 2, "user": 1}]}
        {"id": 2, "text": "I bought it as a present", "meta": {}, "annotations": [{"label": 1, "user": 1}]}
        {"id": 3, "text": "Cheap, and my sister loved it", "meta": {}, "annotations": [{"label": 1, "user": 1}, {"label": 2, "user": 1}]}
        {"id": 4, "text": "It broke after a day", "meta": {}, "annotations": [{"label": 3, "user": 1}]}
        {"id": 5, "text": "Solid, but far too expensive", "meta": {}, "annotations": [{"label": 2, "user": 1}, {"label": 3, "user": 1}]}
        {"id": 6, "text": "Arrived on Monday", "meta": {}, "annotations": []}
        """,
        names_file=_NAMES_TXT,
        asks="--label_names_file",
    ),
    _form(
        EXPORTS,
        "Label Studio, JSON",
        "studio.json",
        """
        [{"id": 1, "data": {"text": "Great value for the price"}, "annotations": [{"id": 11, "was_cancelled": false,
            "result": [{"from_name": "reason", "to_name": "text", "type": "choices", "value": {"choices": ["price"]}}]}]},
         {"id": 2, "data": {"text": "I bought it as a present"}, "annotations": [{"id": 12, "was_cancelled": false,
            "result": [{"from_name": "reason", "to_name": "text", "type": "choices", "value": {"choices": ["gift"]}}]}]},
         {"id": 3, "data": {"text": "Cheap, and my sister loved it"}, "annotations": [{"id": 13, "was_cancelled": false,
            "result": [{"from_name": "reason", "to_name": "text", "type": "choices", "value": {"choices": ["gift", "price"]}}]}]},
         {"id": 4, "data": {"text": "It broke after a day"}, "annotations": [{"id": 14, "was_cancelled": false,
            "result": [{"from_name": "reason", "to_name": "text", "type": "choices", "value": {"choices": ["quality"]}}]}]},
         {"id": 5, "data": {"text": "Solid, but far too expensive"}, "annotations": [{"id": 15, "was_cancelled": false,
            "result": [{"from_name": "reason", "to_name": "text", "type": "choices", "value": {"choices": ["price", "quality"]}}]}]},
         {"id": 6, "data": {"text": "Arrived on Monday"}, "annotations": [{"id": 16, "was_cancelled": false, "result": []}]},
         {"id": 7, "data": {"text": "Skipped by the annotator"}, "annotations": [{"id": 17, "was_cancelled": true, "result": []}]}]
        """,
    ),
    _form(
        EXPORTS,
        "Label Studio, csv",
        "studio.csv",
        """
        id,text,topics,annotator,lead_time
        1,Great value for the price,price,1,4.1
        2,I bought it as a present,gift,1,2.9
        3,"Cheap, and my sister loved it","{""choices"": [""gift"", ""price""]}",1,3.0
        4,It broke after a day,quality,1,5.5
        5,"Solid, but far too expensive","{""choices"": [""price"", ""quality""]}",1,2.2
        6,Arrived on Monday,,1,1.8
        """,
    ),
    _form(
        EXPORTS,
        "Prodigy, the choice interface",
        "prodigy.jsonl",
        """
        {"text": "Great value for the price", "options": [{"id": "gift", "text": "Gift"}, {"id": "price", "text": "Price"}, {"id": "quality", "text": "Quality"}], "accept": ["price"], "answer": "accept"}
        {"text": "I bought it as a present", "options": [{"id": "gift", "text": "Gift"}, {"id": "price", "text": "Price"}, {"id": "quality", "text": "Quality"}], "accept": ["gift"], "answer": "accept"}
        {"text": "Cheap, and my sister loved it", "options": [{"id": "gift", "text": "Gift"}, {"id": "price", "text": "Price"}, {"id": "quality", "text": "Quality"}], "accept": ["gift", "price"], "answer": "accept"}
        {"text": "It broke after a day", "options": [{"id": "gift", "text": "Gift"}, {"id": "price", "text": "Price"}, {"id": "quality", "text": "Quality"}], "accept": ["quality"], "answer": "accept"}
        {"text": "Solid, but far too expensive", "options": [{"id": "gift", "text": "Gift"}, {"id": "price", "text": "Price"}, {"id": "quality", "text": "Quality"}], "accept": ["price", "quality"], "answer": "accept"}
        {"text": "Arrived on Monday", "options": [{"id": "gift", "text": "Gift"}, {"id": "price", "text": "Price"}, {"id": "quality", "text": "Quality"}], "accept": ["gift"], "answer": "reject"}
        {"text": "Skipped by the annotator", "options": [{"id": "gift", "text": "Gift"}, {"id": "price", "text": "Price"}, {"id": "quality", "text": "Quality"}], "accept": ["gift"], "answer": "ignore"}
        """,
    ),
    _form(
        EXPORTS,
        "Argilla",
        "argilla.jsonl",
        """
        {"id": "1", "status": "completed", "text": "Great value for the price", "reason.responses": [["price"]], "reason.responses.users": ["ann"], "reason.responses.status": ["submitted"], "reason.suggestion": ["gift"]}
        {"id": "2", "status": "completed", "text": "I bought it as a present", "reason.responses": [["gift"]], "reason.responses.users": ["ann"], "reason.responses.status": ["submitted"], "reason.suggestion": ["gift"]}
        {"id": "3", "status": "completed", "text": "Cheap, and my sister loved it", "reason.responses": [["gift", "price"]], "reason.responses.users": ["ann"], "reason.responses.status": ["submitted"], "reason.suggestion": ["gift"]}
        {"id": "4", "status": "completed", "text": "It broke after a day", "reason.responses": [["quality"]], "reason.responses.users": ["ann"], "reason.responses.status": ["submitted"], "reason.suggestion": []}
        {"id": "5", "status": "completed", "text": "Solid, but far too expensive", "reason.responses": [["price", "quality"]], "reason.responses.users": ["ann"], "reason.responses.status": ["submitted"], "reason.suggestion": ["price"]}
        {"id": "6", "status": "completed", "text": "Arrived on Monday", "reason.responses": [[]], "reason.responses.users": ["ann"], "reason.responses.status": ["submitted"], "reason.suggestion": []}
        """,
    ),
    _form(
        EXPORTS,
        "spaCy",
        "spacy.jsonl",
        """
        {"text": "Great value for the price", "cats": {"gift": 0.0, "price": 1.0, "quality": 0.0}}
        {"text": "I bought it as a present", "cats": {"gift": 1.0, "price": 0.0, "quality": 0.0}}
        {"text": "Cheap, and my sister loved it", "cats": {"gift": 1.0, "price": 1.0, "quality": 0.0}}
        {"text": "It broke after a day", "cats": {"gift": 0.0, "price": 0.0, "quality": 1.0}}
        {"text": "Solid, but far too expensive", "cats": {"gift": 0.0, "price": 1.0, "quality": 1.0}}
        {"text": "Arrived on Monday", "cats": {"gift": 0.0, "price": 0.0, "quality": 0.0}}
        """,
    ),
    _form(
        EXPORTS,
        "fastText",
        "reviews.train",
        """
        __label__price Great value for the price
        __label__gift I bought it as a present
        __label__gift __label__price Cheap, and my sister loved it
        __label__quality It broke after a day
        __label__price __label__quality Solid, but far too expensive
        """,
        texts=TEXTS[:5],
        labels=LABELS[:5],
    ),
    _form(
        EXPORTS,
        "Amazon Comprehend",
        "comprehend.csv",
        """
        price,Great value for the price
        gift,I bought it as a present
        gift|price,"Cheap, and my sister loved it"
        quality,It broke after a day
        price|quality,"Solid, but far too expensive"
        """,
        texts=TEXTS[:5],
        labels=LABELS[:5],
    ),
    _form(
        EXPORTS,
        "LibMultiLabel",
        "libmultilabel.txt",
        """
        1\tprice\tGreat value for the price
        2\tgift\tI bought it as a present
        3\tgift price\tCheap, and my sister loved it
        4\tquality\tIt broke after a day
        5\tprice quality\tSolid, but far too expensive
        """,
        texts=TEXTS[:5],
        labels=LABELS[:5],
    ),
    _form(
        SEVERAL,
        "one label per line",
        "long.csv",
        """
        id,text,label
        1,Great value for the price,price
        2,I bought it as a present,gift
        3,"Cheap, and my sister loved it",gift
        3,"Cheap, and my sister loved it",price
        4,It broke after a day,quality
        5,"Solid, but far too expensive",price
        5,"Solid, but far too expensive",quality
        6,Arrived on Monday,
        """,
        known={"one_label_per_line": True},
    ),
    _form(
        SEVERAL,
        "one line per annotator; what most of them say",
        "annotators.csv",
        """
        text,labels,annotator
        Great value for the price,price,ann
        Great value for the price,price,bob
        Great value for the price,price|quality,eve
        I bought it as a present,gift,ann
        "Cheap, and my sister loved it",gift|price,ann
        It broke after a day,quality,bob
        "Solid, but far too expensive",price|quality,bob
        Arrived on Monday,,eve
        """,
        known={"annotators": "majority"},
    ),
]


def document() -> str:
    """Return docs/data.md."""
    parts = [_INTRODUCTION]
    for chapter in dict.fromkeys(form.chapter for form in FORMS):
        parts.append(f"## {chapter}\n")
        parts += [_section(form) for form in FORMS if form.chapter == chapter]
    return "\n".join(parts)


def _section(form: Form) -> str:
    lines = form.content.splitlines()
    shown = [line if len(line) <= 120 else f"{line[:117]}..." for line in lines[:4]] + ["..."] * (len(lines) > 4)
    kind = form.name.removesuffix(".gz").rsplit(".", 1)[1]
    language = {"csv": "csv", "json": "json", "jsonl": "json"}.get(kind, "text")
    text = (
        f"**{form.title[0].upper()}{form.title[1:]}** (`{form.name}`)\n\n<!-- tested by tests/data/test_forms.py -->\n```{language}\n"
        + "\n".join(shown)
        + "\n```\n"
    )
    options = [f"--{name} {_words(value)}".strip() for name, value in form.known.items()]
    if form.names_file:
        options.append(f"--label_names_file {form.names_file[0]}")
    if options:
        text += f"\nwith `{' '.join(options)}`" + (", which an error message asks for" if form.asks else "") + ".\n"
    return text


def _words(value: Any) -> str:
    if value is True:
        return ""
    words = value if isinstance(value, list) else [value]
    return " ".join(word if word.replace("_", "").isalnum() else f"'{word}'" for word in words)


_INTRODUCTION = """# Data: the forms that are read

Every form below holds the same six reviews, and every one is read by the tests. The format is recognized by what is in
the file, not by its name; what was recognized is shown at the start as a table of columns, with examples. Whatever
could mean two things is asked for: the error message names the option that decides. `bert-multilabel doctor FILE` shows
the same table, examines the labels and texts, and proposes the command that trains; `bert-multilabel convert FILE
OUT.jsonl` writes clean rows in our own form. In Python:

```python
from bert_multilabel import load_examples

data = load_examples("reviews.csv")  # or a folder, a pattern, a DataFrame, a Dataset, a DatasetDict
data.label_names, data.splits["train"]
```

- **Text** is the column called `text`, `comment`, `review`, `body`, `abstract` and the like, else the only one that
  holds sentences. `--text_column title body` joins several; `--name_text_columns` puts their names in front.
- **A second text** is used only if `--text_pair_column` names it, or if it is called `text_pair` or `sentence2`.
- **Labels** are the column called `labels`, `tags`, `categories`, `topics` and the like, else all columns of 0 and 1. In
  such columns a blank cell (or -1) means "not annotated", and counts nowhere.
- **Separators** in a cell: `|` and `;` are taken, and others if all parts are labels by themselves in other rows. The training split decides;
  where the label names are known (a model, `--label_names_file`), it is the separator that splits at least two of three cells into them.
- **Suspicious labels** (brackets or quotes, numbers, names that are other names joined, nearly as many as rows, each
  only once) are refused; `--labels_as_they_are` accepts them.
- **Files**: csv, tsv and the like, JSON in all shapes, parquet, Arrow, xlsx (`pip install 'bert-multilabel[xlsx]'`);
  compressed by gz, bz2, xz, zip or zst (`pip install zstandard`); folders and patterns such as `'data/*.csv'`; UTF-8,
  marked UTF-16, or what `--encoding` says.
- **One text per line**, as in a `.txt` to predict: insert a first line that is just the word `text`. Commas and tabs
  then separate nothing.
- **Several lists or sheets** in a JSON or xlsx file: `--rows_key` names the one to read.
- **Labels that the model, the names file or else the training split does not have** are refused; `--ignore_unknown_labels` leaves them out.
- **Suggestions** of a model in the export of an annotation tool are no labels; `--use_suggestions` takes them where
  nobody has answered.
- **Label names files** (`--label_names_file`): one name per line, JSON lists and maps (`id2label`, `label2id`, a model's
  `config.json`), tables with ids and names.
"""

if __name__ == "__main__":
    DOC.write_text(document(), encoding="utf-8")
