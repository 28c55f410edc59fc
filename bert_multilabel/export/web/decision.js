// Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
// Turns the logits of one text into labels, as decision.py of bert-multilabel does, which explains the formulas.
// Legend: L labels, Q nodes of the quadrature.

import {obey} from "./rules.js";

const NODES = gaussLegendre(24); // exact for up to 48 labels

/**
 * Decides which labels of a text are predicted.
 *
 * @param {ArrayLike<number>} logits (L,), after the temperature.
 * @param {{threshold: number | number[], min_labels: number, decision: ?object}} rule Without a `decision`, a label is
 *     predicted if its probability is at least its threshold.
 * @param {?object} labelRules The rules between labels that `obey` takes.
 * @returns {{probabilities: number[], cutoffs: number[], decisions: boolean[]}} (L,) each; `cutoffs` are the
 *     probabilities from which the rule predicts the labels of this text, before rules between labels.
 */
export function decide(logits, rule, labelRules) {
  const scaled = Array.from(logits, Math.fround); // Python computes in float32
  const thresholds = scaled.map((_, label) => Math.fround(rule.threshold[label] ?? rule.threshold));
  const probabilities = scaled.map(value => Math.fround(sigmoid(value)));
  const {margins, cutoffs, decisions} = rule.decision
    ? highestExpected(scaled, thresholds, rule) : atThresholds(scaled, thresholds, probabilities);
  if (labelRules) return {probabilities, cutoffs, decisions: obey(margins, decisions, rule.min_labels, labelRules)};
  if (count(decisions) < rule.min_labels) {
    // By logit, because saturated probabilities tie.
    likeliest(scaled, rule.min_labels).forEach(label => { decisions[label] = true; });
  }
  return {probabilities, cutoffs, decisions};
}

function atThresholds(scaled, thresholds, probabilities) {
  return {
    margins: scaled.map((value, label) => value - logit(thresholds[label])),
    cutoffs: thresholds,
    decisions: probabilities.map((probability, label) => probability >= thresholds[label]),
  };
}

/** Finds the set of labels with the highest expected score. */
function highestExpected(scaled, thresholds, {decision, min_labels}) {
  const {temperature, threshold_weight, shift} = decision;
  const logOdds = scaled.map((value, label) => (value - threshold_weight * logit(thresholds[label])) / temperature + shift);
  const sorted = logOdds.toSorted((one, other) => other - one);
  const expected = expectedScores(sorted.map(sigmoid), decision.score); // (L + 1,)
  let size = min_labels;
  expected.forEach((value, labels) => { if (labels > min_labels && value > expected[size]) size = labels; });
  // There is always a label above and one below, far enough for one to be missing.
  const edges = [sorted[0] + 2, ...sorted, sorted.at(-1) - 2];
  const margins = logOdds.map(value => value - (edges[size] + edges[size + 1]) / 2);
  let decisions = margins.map(margin => margin > 0);
  if (count(decisions) !== size) { // equal labels on both sides of the cut
    const chosen = new Set(likeliest(logOdds, size));
    decisions = margins.map((_, label) => chosen.has(label));
  }
  const cutoffs = scaled.map((value, label) => Math.fround(sigmoid(Math.fround(value - temperature * margins[label]))));
  return {margins, cutoffs, decisions};
}

/** Computes the expected scores of the k most probable labels, for k from 0 to L, of probabilities, highest first. */
function expectedScores(probabilities, score) {
  const found = score === "hamming_score" ? expectedHamming(probabilities) : expectedF1(probabilities);
  return [probabilities.reduce((product, probability) => product * (1 - probability), 1), ...found];
}

function expectedHamming(probabilities) {
  const found = probabilities.map(() => 0);
  for (const [node, weight] of NODES) {
    let after = weight; // times the product of 1 - p + p t over the labels after each
    for (let label = probabilities.length - 1; label >= 0; label--) {
      found[label] += after * node ** label;
      after *= 1 - probabilities[label] * (1 - node);
    }
  }
  let sum = 0;
  return found.map((value, label) => value * (sum += probabilities[label]));
}

function expectedF1(probabilities) {
  const found = probabilities.map(() => 0);
  for (const [node, weight] of NODES) {
    const factors = probabilities.map(probability => 1 - probability * (1 - node));
    const every = factors.reduce((product, factor) => product * factor, 1);
    let sum = 0;
    factors.forEach((factor, label) => {
      sum += probabilities[label] / factor;
      found[label] += 2 * weight * every * sum * node ** (label + 1);
    });
  }
  return found;
}

/** Returns the indices of the highest values, the first of equals. */
function likeliest(values, size) {
  return values.map((_, label) => label).sort((one, other) => values[other] - values[one]).slice(0, size);
}

function count(decisions) {
  return decisions.filter(Boolean).length;
}

function sigmoid(value) {
  return 1 / (1 + Math.exp(-value));
}

function logit(probability) {
  return Math.min(Math.max(Math.log(probability) - Math.log1p(-probability), -1e6), 1e6);
}

/** Computes nodes and weights of the Gauss-Legendre quadrature over 0..1, by Newton's method: (Q, 2). */
function gaussLegendre(size) {
  return Array.from({length: size}, (_, index) => {
    let x = Math.cos(Math.PI * (index + 0.75) / (size + 0.5)), slope = 1;
    for (let step = 0; step < 10; step++) {
      let [value, before] = [x, 1];
      for (let degree = 2; degree <= size; degree++) {
        [value, before] = [((2 * degree - 1) * x * value - (degree - 1) * before) / degree, value];
      }
      slope = size * (x * value - before) / (x * x - 1);
      x -= value / slope;
    }
    return [(1 - x) / 2, 1 / ((1 - x * x) * slope * slope)];
  });
}
