// Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
// What the page shows, and what it does when a visitor acts.

const SHOWN = 10; // labels before the button that shows the others
const NAMED = 12; // labels in the description of the model
const LEAST_PROGRESS = 2e6; // bytes; smaller models are there at once

const part = id => document.getElementById(id);

start().catch(error => {
  part("loading").hidden = true;
  alertOf(`The model could not be loaded: ${error.message}`);
});

async function start() {
  part("state").textContent = "Loading the model…";
  const {loadModel} = await import("./model.js");
  const model = await loadModel(showProgress);
  part("loading").hidden = true;
  describe(model);
  const answerOnce = oneAtATime(() => answer(model));
  part("form").addEventListener("submit", event => {
    event.preventDefault();
    answerOnce();
  });
  part("form").addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) part("form").requestSubmit();
  });
  part("more").addEventListener("click", () => showOthers(part("more").getAttribute("aria-expanded") === "false"));
  part("find").disabled = false;
}

function showProgress(loaded, total) {
  const megabytes = bytes => (bytes / 1e6).toFixed(0);
  if (total < LEAST_PROGRESS) return;
  part("bytes").hidden = false;
  Object.assign(part("progress"), {value: loaded, max: total});
  part("loaded").textContent = `${megabytes(loaded)} of ${megabytes(total)} MB`;
  if (loaded >= total) part("state").textContent = "Starting the model…";
}

/** Says what the model does, and offers example texts. */
function describe({settings, names}) {
  document.title = `Labels by ${settings.name}`;
  const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : "";
  part("about").replaceChildren(make("b", {textContent: settings.name}),
    ` predicts any number of ${names.length} labels for a text of up to ${settings.max_length} tokens: ` +
    `${names.slice(0, NAMED).join(", ")}${more}.`);
  const {quantized} = settings;
  part("precision").textContent = quantized ? "It computes with 8-bit integers here: of " +
    `${quantized.texts.toLocaleString("en")} texts, ${(100 * quantized.kept).toFixed(1)}% have the labels of the original.` : "";
  part("second").hidden = !settings.takes_pairs;
  part("examples").hidden = settings.examples.length === 0;
  part("examples").append(...settings.examples.map(text => {
    const button = make("button", {type: "button", textContent: text, dir: "auto"});
    button.addEventListener("click", () => {
      part("text").value = text;
      part("form").requestSubmit();
    });
    return button;
  }));
}

async function answer(model) {
  const [text, pair] = ["text", "pair"].map(id => part(id).value);
  alertOf("");
  if (!text.trim()) {
    part("details").hidden = true;
    part("summary").textContent = "";
    part("text").focus();
    return alertOf("Enter a text first.");
  }
  part("answer").setAttribute("aria-busy", "true");
  try {
    const second = model.settings.takes_pairs && pair.trim() ? pair : null;
    show(model, await model.label(text, second));
  } catch (error) {
    alertOf(`The text could not be read: ${error.message}`);
  }
  part("answer").removeAttribute("aria-busy");
}

/** Makes a function that, called while it runs, runs once more at the end. */
function oneAtATime(action) {
  let running = null, again = false;
  return async () => {
    again = true;
    running ??= (async () => {
      while (again) {
        again = false;
        await action();
      }
      running = null;
    })();
    await running;
  };
}

function show({settings, names, rule}, {probabilities, cutoffs, decisions, logits, isCut}) {
  const order = names.map((_, label) => label).sort((one, other) => logits[other] - logits[one]);
  const predicted = order.filter(label => decisions[label]);
  part("summary").replaceChildren("Predicted: ",
    make("b", {textContent: predicted.map(label => names[label]).join(", ") || "no label"}));
  const isFilled = rule.min_labels > 0 && predicted.some(label => probabilities[label] < cutoffs[label]);
  // Rules act where a decision differs from what its own threshold says.
  const actsByRules = settings.rules && names.some((_, label) => decisions[label] !== probabilities[label] >= cutoffs[label]);
  part("notes").textContent = [
    isFilled && `At least ${rule.min_labels} for every text.`,
    rule.decision && `The set of labels with the highest expected ${rule.decision.score.replaceAll("_", " ")} is ` +
      "predicted. Its thresholds hold for this text only.",
    actsByRules && "Some labels are predicted or left out by the label rules of the model.",
    isCut && "The text is too long for the model, which has not read all of it.",
    "A label is predicted if its score (the bar) reaches its threshold (the tick).",
  ].filter(Boolean).join(" ");
  part("labels").replaceChildren(...order.map(label =>
    row(names[label], probabilities[label], cutoffs[label], decisions[label])));
  showOthers(false);
  part("details").hidden = false;
}

/** Makes the row of a label: its name, the comparison with its threshold, and a bar. */
function row(name, probability, cutoff, isPredicted) {
  // If both numbers look equal, more digits show which is larger.
  const digits = probability.toFixed(2) === cutoff.toFixed(2) ? 4 : 2;
  const comparison = `${probability.toFixed(digits)} ${probability < cutoff ? "<" : "≥"} ${cutoff.toFixed(digits)}`;
  const bar = make("span", {className: "bar"});
  const tick = make("span", {className: "tick"});
  bar.style.width = `${100 * probability}%`;
  tick.style.left = `${100 * cutoff}%`;
  const track = make("span", {className: "track", ariaHidden: "true"});
  track.append(bar, tick);
  const item = make("li", {className: isPredicted ? "predicted" : ""});
  item.append(
    make("span", {className: "sign", ariaHidden: "true", textContent: isPredicted ? "✓" : "–"}),
    make("span", {className: "name", dir: "auto", textContent: name}),
    make("span", {className: "unseen", textContent: isPredicted ? ", predicted, " : ", not predicted, "}),
    make("span", {className: "number", textContent: comparison}),
    track);
  return item;
}

/** Shows or hides the labels after the first ones that are not predicted. */
function showOthers(isAll) {
  const rows = [...part("labels").children];
  const others = rows.filter((item, rank) => rank >= SHOWN && !item.classList.contains("predicted"));
  others.forEach(item => { item.hidden = !isAll; });
  part("more").hidden = others.length === 0;
  part("more").textContent = isAll ? "Show fewer labels" : `Show all ${rows.length} labels`;
  part("more").setAttribute("aria-expanded", String(isAll));
}

function alertOf(message) {
  part("problem").textContent = message;
}

function make(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}
