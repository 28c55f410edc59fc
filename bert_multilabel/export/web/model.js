// Copyright 2026 The bert-multilabel authors. Licensed under the Apache License, Version 2.0.
// Loads the model of this folder and labels texts with it.

import {AutoModelForSequenceClassification, env, PreTrainedTokenizer, Tensor} from "./library/transformers.web.min.js";
import {decide} from "./decision.js";
import {fillTemplate, makeEncoder} from "./input.js";

const MODEL = "model"; // its folder

/**
 * Loads the model.
 *
 * @param {function(number, number)} onProgress Is told how many bytes have arrived, and of how many.
 * @returns {Promise<{settings: object, names: string[], rule: object, label: Function}>} What page.json says, the names
 *     of the L labels, what decides on them, and `label(text, pair)`, which promises what `decide` returns,
 *     the `logits` and `isCut`.
 */
export async function loadModel(onProgress) {
  useThisFolder();
  const read = name => fetch(name).then(answer => {
    if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
    return answer.json();
  });
  const [settings, content, tokenizerConfig] = await Promise.all(
    ["page.json", `${MODEL}/tokenizer.json`, `${MODEL}/tokenizer_config.json`].map(read));
  const model = await AutoModelForSequenceClassification.from_pretrained(MODEL, {
    device: "wasm",
    dtype: settings.dtype,
    progress_callback: event => {
      if (event.status === "progress" && event.file.endsWith(".onnx")) onProgress(event.loaded, settings.bytes);
    },
  });
  const encode = makeEncoder(PreTrainedTokenizer, content, tokenizerConfig);
  const rule = model.config.multi_label;
  const names = Object.values(model.config.id2label);
  const label = async (text, pair) => {
    const {isCut, ...input} = fillTemplate(encode(text), pair === null ? null : encode(pair), settings);
    const logits = (await run(model, input)).data;
    return {isCut, logits, ...decide(logits, rule, settings.rules)};
  };
  await label("", null); // the first one takes longer
  return {settings, names, rule, label};
}

/** Asks no other host, and keeps nothing that a newer model at this address could be mistaken for. */
function useThisFolder() {
  const here = name => new URL(name, document.baseURI).href; // of a relative address it would ask twice
  Object.assign(env, {allowRemoteModels: false, allowLocalModels: true, localModelPath: here(".")});
  Object.assign(env, {useBrowserCache: false, useWasmCache: false});
  Object.assign(env.backends.onnx.wasm, {
    proxy: true, // computes in a worker, so that the page keeps answering
    wasmPaths: {mjs: here("library/ort-wasm-simd-threaded.mjs"), wasm: here("library/ort-wasm-simd-threaded.wasm")},
  });
}

/** Computes the logits of one input: (1, L). */
async function run(model, {ids, segments}) {
  const tensor = values => new Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  const inputs = {input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)), token_type_ids: tensor(segments)};
  return (await model(inputs)).logits;
}
