// Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
// Turns texts into the inputs of a model. Transformers.js splits the texts into tokens; the rest is done here, because
// it would cut off the special tokens at the end of long texts.
// Legend: T tokens.

const RARE_IDEOGRAPHS = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;

/**
 * Makes a tokenizer that knows no special tokens, so that texts which spell them are plain characters.
 *
 * @param {Function} Tokenizer The class `PreTrainedTokenizer` of Transformers.js.
 * @param {object} content The content of tokenizer.json.
 * @param {object} config The content of tokenizer_config.json.
 * @returns {function(string): number[]} Returns the ids of the tokens of a text, without special tokens.
 */
export function makeEncoder(Tokenizer, content, config) {
  const ordinary = content.added_tokens.filter(token => !token.special);
  const tokenizer = new Tokenizer({...content, added_tokens: ordinary}, config);
  return text => tokenizer.encode(spellOut(text, content.normalizer), {add_special_tokens: false});
}

/** Does what BERT's normalizer does and that of Transformers.js does not. */
function spellOut(text, normalizer) {
  if (normalizer?.type !== "BertNormalizer") return text;
  if (normalizer.lowercase) text = text.replaceAll("Σ", "σ"); // also at the end of a word
  return normalizer.handle_chinese_chars ? text.replace(RARE_IDEOGRAPHS, " $& ") : text;
}

/**
 * Puts special tokens around one or two texts, which are cut where they are too long.
 *
 * @param {number[]} first The ids of a text.
 * @param {?number[]} second The ids of the second text.
 * @param {{template: {single: object[], pair: object[]}, max_length: number, truncation_side: string}} settings A piece
 *     of a template is `{text: 0 or 1, segment}` or `{id, segment}`.
 * @returns {{ids: number[], segments: number[], isCut: boolean}} (T,) each.
 */
export function fillTemplate(first, second, {template, max_length, truncation_side}) {
  const pieces = second ? template.pair : template.single;
  const texts = second ? [first, second] : [first];
  const lengths = keptLengths(texts.map(ids => ids.length), max_length - pieces.filter(piece => "id" in piece).length);
  const kept = texts.map((ids, index) => truncation_side === "left" ? ids.slice(ids.length - lengths[index])
    : ids.slice(0, lengths[index]));
  const parts = pieces.map(piece => "id" in piece ? [piece.id] : kept[piece.text]);
  return {
    ids: parts.flat(),
    segments: parts.flatMap((part, index) => part.map(() => pieces[index].segment)),
    isCut: texts.some((ids, index) => ids.length > lengths[index]),
  };
}

/** Shares the room between texts as the tokenizers library does: the longer one is cut first. */
function keptLengths(lengths, room) {
  if (lengths.length === 1) return [Math.min(lengths[0], room)];
  if (lengths[0] + lengths[1] <= room) return lengths;
  const isSwapped = lengths[0] > lengths[1];
  const shorter = Math.min(...lengths);
  const half = Math.floor(room / 2);
  const kept = shorter < half ? [shorter, room - shorter] : [half, room - half];
  return isSwapped ? kept.reverse() : kept;
}
