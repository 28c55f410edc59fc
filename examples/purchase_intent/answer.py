"""Load a trained folder as anyone would, with Transformers alone, and answer three new sentences."""

import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

QUESTIONS = [
    ("My sister turns thirty on Friday. Would she rather have this in silver or in gold?", "charm bracelet"),
    ("Brilliant little thing, but two hundred quid? I'll pass.", "espresso grinder"),
    ("The zip went on day two and now the strap is fraying as well.", "gym bag"),
]

folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
texts, products = zip(*QUESTIONS, strict=True)
with torch.inference_mode():
    logits = model(**tokenizer(list(texts), list(products), padding=True, return_tensors="pt")).logits
probabilities, decisions = model.config.decide(logits)

for (text, product), scores, given in zip(QUESTIONS, probabilities.tolist(), decisions.tolist(), strict=True):
    named = zip(model.config.label_names, scores, given, strict=True)
    opinions = ", ".join(f"{name} ({score:.2f})" for name, score, is_given in named if is_given)
    print(f"{product}: “{text}”\n  {opinions or '-'}")
