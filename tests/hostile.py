"""What may be sent to a model, and to a parser, by somebody who means no good, for property tests and fuzzing."""

from hypothesis import strategies as st

# What terminals, browsers or other programs stumble over.
ODD_CHARACTERS = "\0\x1b\x85\xad\u0301\u200b\u200d\u202e\u2066\u2028\ufeff\U000e0041"
TOKENS = ["[OPINION1]", "[OPINION3]", "[OPINION28]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]", "##[SEP]"]
TOKENS += ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "<s>NOTUSED", "▁<s>"]


def spellings(token: str) -> list[str]:
    """Ways to spell a token that a tokenizer, or what cleans texts for it, could take for the token itself."""
    return [
        *(token, token.lower(), token.title(), token.replace("[", "[ "), " ".join(token)),
        "".join(chr(ord(letter) + 0xFEE0) for letter in token),  # full-width
        *(f"[{token}]", f"[SEP{token}]", f"{token[:3]}{token}{token[3:]}", token * 20),
        *("\u200b".join(token), "\xad".join(token), token.replace("I", "I\u0301"), f"\u202e{token[::-1]}\u202c"),
        *(f"\0{token}\0", f"\n{token}\t", token.replace("[", "\\["), f"<{token}>", f"##{token}"),
    ]


_pieces = st.sampled_from([spelling for token in TOKENS for spelling in spellings(token)])
_characters = st.characters(exclude_categories=["Cs"]) | st.sampled_from(ODD_CHARACTERS)
texts = st.lists(_pieces | st.text(_characters, max_size=8), max_size=6).map("".join)
any_texts = texts | st.text()  # with half surrogates

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_texts, inner, max_size=4),
    max_leaves=8,
)


def check_tokens(tokenizer, batch, are_pairs):
    """Each row has every label token once, in order, and no other special token than those that frame its texts."""
    unknown, padding = tokenizer.unk_token_id, tokenizer.pad_token_id
    special = {*tokenizer.all_special_ids} - {unknown, padding}
    masks = batch.get("label_mask", batch["attention_mask"])
    for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], masks, strict=True):
        real = [token for token, is_real in zip(ids, mask, strict=True) if is_real]
        assert padding not in real
        if "label_mask" in batch:
            marked = [token for token, is_label in zip(ids, labels, strict=True) if is_label]
            assert marked == tokenizer.label_token_ids
        # Label tokens, and [CLS] and a [SEP] behind each text, or what other families have.
        assert sum(token in special for token in real) == tokenizer.num_special_tokens_to_add(pair=are_pairs)
