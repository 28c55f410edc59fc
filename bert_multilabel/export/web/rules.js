// Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
// Finds the likeliest set of labels of one text that breaks no rule between labels, as likeliest_sets.py of
// bert-multilabel does, which explains how. The export has divided the labels into parts and listed the cases.
// Legend: L labels, M labels of a part.

const LARGEST = 1e3; // margins are cut to this
const LEAST = 1e-6; // of a predicted label, and below minus this of another
const FORCED = 1e7; // what `min_labels` adds
const SETTLED = 1e13; // what a case forces or bans
const BONUSES = Array.from({length: 17}, (_, index) => 2 ** (index - 2));

/**
 * Makes decisions obey rules.
 *
 * @param {number[]} margins (L,), above 0 where a label is predicted by itself.
 * @param {boolean[]} decisions (L,), what is predicted without rules and `min_labels`.
 * @param {number} minLabels At least so many labels are predicted, as far as the rules allow it.
 * @param {{parts: object[], ancestors: Object<number, number[]>}} rules What `LikeliestSets.as_json` returns.
 * @returns {boolean[]} (L,)
 */
export function obey(margins, decisions, minLabels, rules) {
  const scores = margins.map((margin, label) => {
    const finite = Math.min(Math.max(margin, -LARGEST), LARGEST);
    return decisions[label] ? Math.max(finite, LEAST) : Math.min(finite, -LEAST);
  });
  const chosen = [...decisions];
  for (const part of rules.parts) {
    if (breaks(part, part.labels.map(label => decisions[label]))) choose(part, scores, chosen);
  }
  return count(chosen) < minLabels ? fill(scores, chosen, minLabels, rules) : chosen;
}

/** Tells whether the labels of a part, (M,), break a rule. */
function breaks(part, flags) {
  return part.implications.some(([child, parent]) => flags[child] && !flags[parent])
    || part.groups.some(group => group.filter(label => flags[label]).length > 1);
}

/** Puts the likeliest set of a part in its place. */
function choose(part, scores, chosen) {
  likeliestOf(part, part.labels.map(label => scores[label]))
    .forEach((isChosen, index) => { chosen[part.labels[index]] = isChosen; });
}

/** Finds the likeliest set of a part, (M,). */
function likeliestOf(part, scores) {
  if (part.cases === null) return likeliestTrees(part, scores);
  const sets = part.cases.map(signs => likeliestTrees(part, scores.map((score, label) => score + SETTLED * signs[label])));
  const sums = sets.map(set => scores.reduce((sum, score, label) => set[label] ? sum + score : sum, 0));
  return sets[sums.indexOf(Math.max(...sums))];
}

/** Finds the likeliest set in which each label has its first parent, and at most one label of each unit, (M,). */
function likeliestTrees({units}, scores) {
  const gains = [...scores], chosen = scores.map(() => false);
  const highest = unit => Math.max(...unit.labels.map(label => gains[label]));
  for (const unit of units.toReversed()) { // children first
    if (unit.parent >= 0) gains[unit.parent] += Math.max(highest(unit), 0);
  }
  for (const unit of units) {
    const best = highest(unit);
    if (best < 0 || (unit.parent >= 0 && !chosen[unit.parent])) continue;
    chosen[unit.labels.find(label => gains[label] === best)] = true;
  }
  return chosen;
}

/** Finds the likeliest set, whatever the decisions: (L,). */
function likeliest(scores, rules) {
  const chosen = scores.map(score => score > 0);
  rules.parts.forEach(part => choose(part, scores, chosen));
  return chosen;
}

/** Adds the likeliest labels to too few; where rules leave too few to add, others give way. */
function fill(scores, chosen, minLabels, rules) {
  const forced = scores.map(() => 0);
  while (count(chosen) < minLabels) {
    const gains = scores.map((_, label) => gain(label, scores, chosen, rules));
    const best = Math.max(...gains);
    if (best === -Infinity) break;
    for (const label of implied(gains.indexOf(best), rules)) [chosen[label], forced[label]] = [true, FORCED];
  }
  // Added labels may make others worth it, such as the children of an added parent.
  const better = likeliest(scores.map((score, label) => score + forced[label]), rules);
  if (count(better) >= minLabels) chosen = better;
  for (const bonus of BONUSES) {
    if (count(chosen) >= minLabels) break;
    const other = likeliest(scores.map(score => score + bonus), rules);
    if (count(other) > count(chosen)) chosen = other;
  }
  return chosen;
}

/** What adding a label with all it implies would gain; minus infinity where that is impossible. */
function gain(label, scores, chosen, rules) {
  if (chosen[label]) return -Infinity;
  const added = implied(label, rules).filter(other => !chosen[other]);
  const isBlocked = rules.groups.some(group => group.some(one => added.includes(one))
    && group.some(one => chosen[one]));
  return isBlocked ? -Infinity : added.reduce((sum, other) => sum + scores[other], 0);
}

function implied(label, rules) {
  return rules.ancestors[label] ?? [label];
}

function count(flags) {
  return flags.filter(Boolean).length;
}
