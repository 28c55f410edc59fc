"""Pushes and pulls through the real huggingface_hub client, with a small Hub on 127.0.0.1 at the other end."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel, AutoTokenizer

from bert_multilabel import auto  # noqa: F401  # our folders load through the Auto classes
from bert_multilabel.errors import PushError
from bert_multilabel.output_dir.checkpoints import describe_damage, read_run
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.training.run import run
from tests.conftest import LABELS, make_rows
from tests.loopback_hub import Commit, LoopbackHub

# Minutes of processor time, most of it in Transformers and huggingface_hub, whose releases it depends on.
pytestmark = [pytest.mark.slow, pytest.mark.dependency]
ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["the price is good", "not [OPINION1] good [SEP]"]
PAIRS = ["gift", ""]
# They contain examples, or results about them.
PRIVATE = ("predictions.jsonl", "report.html", "report.json")
MODEL_FILES = {"config.json", "model.safetensors", "configuration_multilabel.py", "modeling_multilabel.py"}
TOKENIZER_FILES = {"tokenizer.json", "tokenizer_config.json", "tokenization_multilabel.py"}
# The parts of each repository in the order in which they are pushed.
ORDERS = {
    "ada/config-tokenizer-model": ("cls", ["config", "tokenizer", "model"]),
    "ada/model-config-tokenizer": ("label_tokens", ["model", "config", "tokenizer"]),
    "ada/tokenizer-model": ("label_tokens", ["tokenizer", "model"]),
    "ada/tokenizer": ("label_tokens", ["tokenizer"]),
    "ada/config": ("cls", ["config"]),
    "ada/with-a-page": ("cls", ["config", "model"]),
}
COMPLETE = [name for name, (_, parts) in ORDERS.items() if {"model", "tokenizer"} <= {*parts}]
FIRST_SAVE = "ada/run at its first save"
# The script, for which the client waits less long before it tries again: it would take half a minute to give up.
IMPATIENT = f"""
import runpy, time
sleep = time.sleep
time.sleep = lambda seconds: sleep(seconds / 20)
runpy.run_path({str(ROOT / "run_multilabel.py")!r}, run_name="__main__")
"""
# Tests run offline, so other processes talk to the Hub: one that pushes, and one that pulls without this package.
PUSH = """
import json, os, sys
import torch
from bert_multilabel import from_backbone
from bert_multilabel.training.arguments import parse_arguments
from bert_multilabel.errors import PushError
from bert_multilabel.training.run import run

asked = json.loads(sys.argv[1])
logits, said = {}, {}
for name, (strategy, parts) in asked["orders"].items():
    model, tokenizer = from_backbone(asked["backbone"], asked["labels"], strategy)
    objects = {"model": model, "tokenizer": tokenizer, "config": model.config}
    for part in parts:
        objects[part].push_to_hub(name, token="hf_write", commit_message=part, tags=["opinions"])
    with torch.inference_mode():
        logits[name] = model.eval()(**tokenizer(*asked["texts"], padding=True, return_tensors="pt")).logits.tolist()
os.environ["HF_TOKEN"] = "hf_write"
for part in (tokenizer, model):
    part.save_pretrained(asked["folder"] + "/saved", push_to_hub=True)
model.push_to_hub("ada/proposed", create_pr=True)
del os.environ["HF_TOKEN"]
for name, words in asked["runs"].items():
    try:
        run(parse_arguments(words))
        said[name] = None
    except PushError as error:
        said[name] = str(error)
print("REPORT" + json.dumps({"logits": logits, "said": said}))
"""
PULL = """
import json, sys
sys.modules["bert_multilabel"] = None
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

texts, pairs = json.loads(sys.argv[2])

def pull(name, **where):
    where["trust_remote_code"] = True
    config = AutoConfig.from_pretrained(name, **where)
    tokenizer = AutoTokenizer.from_pretrained(name, **where)
    batch = tokenizer(texts, pairs, padding=True, return_tensors="pt")
    models = [auto.from_pretrained(name, **where) for auto in (AutoModel, AutoModelForSequenceClassification)]
    classify = pipeline("text-classification", model=name, top_k=None, function_to_apply="none", **where)
    with torch.inference_mode():
        logits = [model(**batch).logits for model in models]
        together = classify.model(**classify.tokenizer(texts, pairs, padding=True, return_tensors="pt")).logits
    alone = classify({"text": texts[0], "text_pair": pairs[0]})
    alone = [{answer["label"]: answer["score"] for answer in alone}[label] for label in config.label_names]
    found = {
        "class": type(models[1]).__name__,
        "logits": [[value.hex() for value in row] for row in logits[0].double().tolist()],
        "same": torch.equal(*logits) and torch.equal(logits[0], together),
        "pipeline": (torch.tensor(alone) - logits[0][0]).abs().max().item(),
    }
    return models[1], tokenizer, found

report = {"pulled": {}, "refused": {}}
for name, where in json.loads(sys.argv[1])["refused"]:
    try:
        AutoConfig.from_pretrained(name, trust_remote_code=True, **where)
    except OSError as error:
        report["refused"][str(where["token"])] = str(error)
for name, where in json.loads(sys.argv[1])["pulled"]:
    model, tokenizer, report["pulled"][name] = pull(where.pop("name", name), **where)
model.push_to_hub("ada/again", token="hf_write")
tokenizer.push_to_hub("ada/again", token="hf_write")
report["pulled"]["ada/again"] = pull("ada/again")[2]
report["config"] = AutoConfig.from_pretrained("ada/config", trust_remote_code=True).label_names
report["tokenizer"] = AutoTokenizer.from_pretrained("ada/tokenizer", trust_remote_code=True).label_names
print("REPORT" + json.dumps(report))
"""


def start(hub, home, words, **variables):
    """Start a process whose Hub is the one here, with no other token and package than `variables` name."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "HF_", "HUGGING"))
    }
    return subprocess.Popen(
        words,
        cwd=home.parent,
        env={**environment, **hub.environment(home), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Wait for a process and return its report and its stderr."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(output.split("REPORT")[1]), errors


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub({"hf_write": ("ada", "write"), "hf_read": ("ada", "read"), "hf_bob": ("bob", "write")}) as hub:
        hub.add("ada/dropped", "drop upload")
        hub.add("ada/refusing", "refuse commit")
        by_hand = {
            "ada/with-a-page": {"README.md": b"---\ntags: [mine]\n---\nAda wrote this."},
            "ada/config": {"last-checkpoint/model.safetensors": b"not what loads"},
        }
        for name, files in by_hand.items():
            hub.add(name)
            hub.repositories[name].branches["main"].append(Commit("by hand", files))
        yield hub


@pytest.fixture(scope="module")
def talk(hub, backbone, tmp_path_factory):
    """All that is said between the Hub and other processes, which are as few as it takes."""
    root = tmp_path_factory.mktemp("hub")
    (root / "train.jsonl").write_text("\n".join(json.dumps(row) for row in make_rows(16)))

    def words(name, more):
        return f"""--model_name_or_path {backbone} --strategy label_tokens --train_file {root / "train.jsonl"}
            --do_train --max_steps 4 --save_steps 2 --save_strategy steps --per_device_train_batch_size 8 --use_cpu
            --disable_tqdm true --output_dir {root / name} --push_to_hub {more}""".split()

    script = [sys.executable, "-c", IMPATIENT, *words("dropped", "--hub_strategy end --seed 1")]
    dropped = start(hub, root / "script", script, HF_TOKEN="hf_write", PYTHONPATH=str(ROOT))
    runs = {
        "run": words("run", "--hub_token hf_write --hub_private_repo --hub_strategy checkpoint --do_eval"),
        "branch": words(
            "branch", "--hub_token hf_write --hub_strategy all_checkpoints --hub_always_push --hub_revision trial"
        ),
        "adapters": words("adapters", "--hub_token hf_write --lora_rank 2"),
        "refusing": words("refusing", "--hub_token hf_write --hub_private_repo"),
        "no token": words("refused", ""),
        "wrong token": words("refused", "--hub_token hf_wrong"),
        "reading token": words("refused", "--hub_token hf_read"),
        "not theirs": words("refused", "--hub_token hf_bob --hub_model_id ada/other"),
        "no name": words("refused", "--hub_token hf_write --hub_model_id ada/a+b"),
    }
    asked = {"orders": ORDERS, "backbone": str(backbone), "labels": LABELS, "texts": [TEXTS, PAIRS], "runs": runs}
    asked["folder"] = str(root)
    push = start(hub, root / "push", [sys.executable, "-c", PUSH, json.dumps(asked)], PYTHONPATH=str(ROOT))
    pushed, logged = finish(push)
    _, said = dropped.communicate()
    assert (root / "dropped" / "config.json").is_file(), said

    hub.repositories["ada/dropped"].faults.clear()
    for name in PRIVATE:
        (root / "dropped" / name).write_text("somebody's text")
    advised = shlex.split(next(line for line in said.splitlines() if line.startswith("    hf upload")))
    by_hand = [str(Path(sys.executable).with_name(advised[0])), *advised[1:]]
    upload = start(hub, root / "upload", by_hand, HF_TOKEN="hf_write")
    _, upload_errors = upload.communicate()
    assert upload.returncode == 0, upload_errors

    pulls = {
        "refused": [["ada/run", {"token": token}] for token in (False, "hf_bob", "hf_wrong")],
        "pulled": [
            [FIRST_SAVE, {"name": "ada/run", "revision": first_save(hub).sha, "token": "hf_write"}],
            ["ada/run", {"token": "hf_write"}],
            ["ada/dropped", {}],
            *([name, {}] for name in COMPLETE),
        ],
    }
    pull = [sys.executable, "-I", "-c", PULL, json.dumps(pulls), json.dumps([TEXTS, PAIRS])]
    pulled, _ = finish(start(hub, root / "pull", pull))
    return SimpleNamespace(root=root, **pushed, logged=logged, dropped=(dropped.returncode, said), **pulled)


def first_save(hub):
    return next(commit for commit in hub.repositories["ada/run"].branches["main"] if "step 2" in commit.message)


def write_files(files, folder):
    """Put the files of a repository into a folder."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def page(commit):
    return commit.files["README.md"].decode()


def assert_whole(folder):
    """Assert that a run is finished and its folder holds all that it should."""
    assert read_run(folder)["finished"]
    assert MODEL_FILES | TOKENIZER_FILES | {"README.md", "all_results.json"} <= {
        path.name for path in folder.iterdir()
    }
    AutoTokenizer.from_pretrained(folder)
    AutoModel.from_pretrained(folder)


@pytest.mark.parametrize("name", [*COMPLETE, "ada/run", FIRST_SAVE, "ada/dropped", "ada/again"])
def test_what_is_pulled_gives_the_logits_of_what_was_pushed(talk, hub, tmp_path, name):
    pulled = talk.pulled[name]
    logits = torch.tensor([[float.fromhex(value) for value in row] for row in pulled["logits"]])
    assert pulled["same"]
    assert pulled["pipeline"] < 1e-5
    # The same files in a folder, without Hub and with this package, give the same bits.
    folder = write_files((first_save(hub) if name == FIRST_SAVE else hub.repositories[name]).files, tmp_path)
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == pulled["class"]
    with torch.inference_mode():
        assert torch.equal(logits, model(**tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")).logits)
    if name in COMPLETE:
        assert torch.allclose(logits, torch.tensor(talk.logits[name]), atol=1e-5)


@pytest.mark.parametrize("name", [*COMPLETE, "ada/run", "ada/again"])
def test_a_repository_holds_all_that_loading_takes(talk, hub, name):
    assert MODEL_FILES | TOKENIZER_FILES | {"README.md"} <= hub.repositories[name].files.keys()


def test_a_configuration_or_tokenizer_alone_loads_as_such(talk):
    assert talk.config == talk.tokenizer == LABELS


def pages(hub, name, branch="main"):
    """The pages of a repository after each push, whose last commit writes the page."""
    commits = hub.repositories[name].branches[branch][1:]
    return [page(after) for _, after in zip(commits[::2], commits[1::2], strict=True)]


def test_the_page_says_what_is_missing_until_all_is_there(talk, hub):
    lacking = {
        "config": "the weights and the tokenizer are missing",
        "tokenizer": "the weights are missing",
        "model": "model = AutoModelForSequenceClassification.from_pretrained(name",
    }
    for part, shown in zip(["config", "tokenizer", "model"], pages(hub, "ada/config-tokenizer-model"), strict=True):
        assert [text in shown for text in lacking.values()] == [part == other for other in lacking]
    alone = page(hub.repositories["ada/config"].branches["main"][-1])
    assert 'model.push_to_hub("ada/config")\ntokenizer.push_to_hub("ada/config")' in alone
    assert "the tokenizer is missing" in pages(hub, "ada/model-config-tokenizer")[0]


def test_a_save_that_pushes_and_a_proposed_change_have_the_page_too(talk, hub):
    before, after = pages(hub, "ada/saved")
    assert "the weights are missing" in before and "from_pretrained(name" in after
    assert ["the tokenizer is missing" in shown for shown in pages(hub, "ada/proposed", "refs/pr/1")] == [True]
    assert len(hub.repositories["ada/proposed"].branches["main"]) == 1


def test_a_page_that_somebody_wrote_stays(talk, hub):
    metadata = ModelCard(page(hub.repositories["ada/with-a-page"].branches["main"][-1]))
    assert metadata.text.strip() == "Ada wrote this."
    assert metadata.data.tags == ["mine", "opinions"]
    assert ModelCard(page(hub.repositories["ada/config"].branches["main"][-1])).data.tags[-1] == "opinions"


def test_a_run_leaves_on_the_hub_what_it_leaves_in_its_folder(talk, hub):
    repository = hub.repositories["ada/run"]
    assert talk.said["run"] is None
    assert repository.is_private
    assert 'name = "ada/run"  # its name on the Hub' in repository.files["README.md"].decode()
    pushed = {path: content for path, content in repository.files.items() if "/" not in path}
    kept = {"training_run.json", *(path.name for path in (talk.root / "run").glob("checkpoint-*"))}
    assert pushed == {path.name: path.read_bytes() for path in (talk.root / "run").iterdir() if path.name not in kept}


def test_a_save_pushes_a_model_that_says_how_far_it_is(talk, hub):
    files = first_save(hub).files
    assert MODEL_FILES | TOKENIZER_FILES <= files.keys()
    assert "Training in progress, step 2 of 4." in page(first_save(hub))
    assert not [name for name in files if name.endswith((".pt", ".pth", ".bin")) or name == "trainer_state.json"]


def test_the_last_checkpoint_on_the_hub_is_one_to_go_on_from(talk, hub, tmp_path):
    checkpoint = write_files(hub.repositories["ada/run"].files, tmp_path) / "last-checkpoint"
    assert describe_damage(checkpoint) is None
    assert not (checkpoint / "training_args.bin").exists()


def test_no_token_is_written_anywhere(talk, hub):
    for path in talk.root.rglob("*"):
        assert not path.is_file() or b"hf_write" not in path.read_bytes(), path
    for repository in hub.repositories.values():
        assert not any(b"hf_write" in content for content in repository.files.values())


def test_a_branch_is_made_and_takes_all_checkpoints(talk, hub):
    branches = hub.repositories["ada/branch"].branches
    saves = [f"Training in progress, step {step} of 4{what}" for step in (2, 4) for what in ("", ", checkpoint")]
    assert [commit.message for commit in branches["trial"]] == ["initial commit", *saves, "End of training"]
    assert {"checkpoint-2/optimizer.pt", "checkpoint-4/optimizer.pt"} <= branches["trial"][-1].files.keys()
    assert len(branches["main"]) == 1


def test_checkpoints_with_adapters_do_not_load_and_are_not_pushed(talk, hub):
    assert list((talk.root / "adapters").glob("checkpoint-*"))
    assert hub.repositories["ada/adapters"].messages == ["initial commit", "End of training"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no token", "there is no token: create one with write access"),
        ("wrong token", "the Hub does not know this token (401)"),
        ("reading token", "the token of ada may only read"),
        ("not theirs", "this token may not write to ada/other (403)"),
        ("no name", "'ada/a+b'. Choose another repository name"),
    ],
)
def test_a_push_that_cannot_work_is_refused_before_training(talk, hub, name, reason):
    assert reason in talk.said[name]
    assert not list((talk.root / "refused").glob("*"))
    assert "ada/refused" not in hub.repositories


def test_a_push_that_is_refused_at_the_end_loses_nothing(talk, hub):
    assert "The push to ada/refusing failed: this token may not write to ada/refusing (403)" in talk.said["refusing"]
    assert (
        f"saved in {talk.root / 'refusing'}. Push it again with\n    hf upload ada/refusing" in talk.said["refusing"]
    )
    assert "--private" in talk.said["refusing"]
    assert "checkpoint-2 was not pushed: this token may not write to ada/refusing (403)" in talk.logged
    assert_whole(talk.root / "refusing")


def test_a_connection_lost_in_the_middle_loses_nothing_and_the_advice_helps(talk, hub):
    code, said = talk.dropped
    assert code == 1
    assert "The push to ada/dropped failed: " in said
    assert "Traceback" not in said
    assert_whole(talk.root / "dropped")
    # What the advised command has pushed since.
    assert hub.repositories["ada/dropped"].files.keys() == {
        path.name
        for path in (talk.root / "dropped").iterdir()
        if path.suffix and path.name not in ("training_run.json", *PRIVATE)
    }


def test_a_private_repository_is_not_there_for_others_and_a_wrong_token_is_named(talk):
    assert "If this is a private repository, make sure to pass a token" in talk.refused["False"]
    assert "If this is a private repository, make sure to pass a token" in talk.refused["hf_bob"]
    assert "401 Unauthorized" in talk.refused["hf_wrong"]


def test_a_push_without_training_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--push_to_hub needs --do_train"):
        parse_arguments(f"--model_name_or_path x --output_dir {tmp_path} --do_predict --push_to_hub".split())


def test_a_push_without_the_hub_is_refused(tmp_path):
    words = f"--model_name_or_path x --output_dir {tmp_path / 'out'} --do_train --push_to_hub --hub_token t"
    with pytest.raises(PushError, match="HF_HUB_OFFLINE forbids it: unset it"):
        run(parse_arguments(words.split()))
