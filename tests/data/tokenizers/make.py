#!/usr/bin/env python3
"""Write the files of this folder: small tokenizer.json files of each family's structure,
trained on wikitext by the `tokenizers` library, and the ids that the library gives for the
texts below. Run in the repository's root, with tokenizers 0.23."""
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers

FOLDER = "tests/data/tokenizers/"
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXTS = [
    "", "a", " a", "  a b  ", "Hello World", "The capital of France is Paris.",
    "don't DON'T we'll I'D 'tis", "1234567 3.14 ½ ²³ Ⅷ 一二三 ٣", "a\n\nb\r\n\tc \n", "   three   spaces   ",
    " no-break　ideographic em next", "<|im_start|>user\nHi<|im_end|>\n", "<s> [INST] hi [/INST] x</s>",
    "<bos><start_of_turn>user\n hi <end_of_turn>\n", "x <|endoftext|>  \n z <|endoftext|>", "<|a|><|ab|> <|abc|>",
    "word sword swords word.", "wordword word", "two  <|wide|>  sides", "café cafe\u0301 e\u0301\u0327 \u0327e",
    "ﬁ ﬀ Å \u212b ǅ ㎏ ①", "한국어 \u1112\u1161\u11ab \u3131\u314f 각\u11a8", "日本語、カ\u3099ｶﾞガ", "العربية مَرْحَبًا",
    "हिन्दी में क्षि", "ภาษาไทย", "🙂👩‍👩‍👧‍👦🇩🇪👍🏽", "z\u0301\u0302\u0327\u0328a\u0308\u0323", "İstanbul ĞŞ ß ẞ ΟΔΟΣ ǅ",
    "\x01\x7f\x80", "\ufeffBOM\u200bzw\u200dj\u200c", "for(i=0;i<n;i++){x[i]+=1;}\n\t\treturn x;", "▁▁a ▁b", "_under_score__",
    "aaaaaaaaaaaaaaaaaaaa", "          x", "\n\n\n\n\n", "'ſ 'S 'll K", "\U0001e900\U0001e901 \U00016d40\U0001ccf0",
    "\u0344 \u0f73 \u2adc \u1e69", "ﷺ ㌀ \u00a8", "a\u0300\u0301b", "e\u0301\n\u0301", "Ω\u2126 µ\u00b5", "…—“quoted”", "$5 + 3% = ^x|y~",
    "http://www.example.com/a?b=c&d", "xX Xx XX xx", "\u0958\u0929", "  \n  \n", "\u2028\u2029\u3000", "don’t",
]


def random_texts(n):
    r = random.Random(9)
    parts = list("abcXYZ019 '\t\n.,!<>|_-éßıſ") + [
        "\u0301", "\u0327", "\u1100", "\u1161", "가", "日", "カ", "\u3099", "ﾞ", "🙂", "\u200d", "\u00a0", "▁", "ﬁ", "½",
        "</s>", "<s>", "<|im_end|>", "<|a|>", "word", "the ", "  "]
    return ["".join(r.choice(parts) for _ in range(r.randint(2, 14))) for _ in range(n)]


def corpus():
    text = open("tests/data/text/wikitext2-test.txt", encoding="utf-8").read()[:60000]
    return text.split("\n") + TEXTS


def added(text, **how):
    return AddedToken(text, **how)


def train(tok, size, alphabet=(), special=()):
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=list(alphabet), special_tokens=list(special),
                                  show_progress=False)
    tok.train_from_iterator(corpus(), trainer)
    return tok


def with_bytes(tok, size, special):
    """A vocabulary with <0x00> to <0xFF>, as SentencePiece's converters write it."""
    train(tok, size)
    state = json.loads(tok.to_str())
    words = list(special) + ["<0x%02X>" % b for b in range(256)]
    words += [w for w in sorted(state["model"]["vocab"], key=state["model"]["vocab"].get) if w not in words]
    state["model"].update(vocab={w: i for i, w in enumerate(words)}, byte_fallback=True, fuse_unk=True,
                          unk_token="<unk>")
    return Tokenizer.from_str(json.dumps(state))


def byte_level(split=None, **how):
    if split is None:
        return pre.ByteLevel(add_prefix_space=False)
    return pre.Sequence([pre.Split(Regex(split), "isolated"), pre.ByteLevel(add_prefix_space=False, use_regex=False)])


def bpe(pre_tokenizer, normalizer=None, size=420):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizer
    if normalizer:
        tok.normalizer = normalizer
    train(tok, size, pre.ByteLevel.alphabet())
    tok.decoder = decoders.ByteLevel()
    return tok


def bos(tok, text):
    tok.post_processor = processors.TemplateProcessing(single=text + " $A", pair=text + " $A " + text + " $B",
                                                       special_tokens=[(text, tok.token_to_id(text))])


def families():
    tok = bpe(byte_level())
    tok.add_special_tokens(["<|endoftext|>"])
    yield "gpt2", tok, 0

    tok = bpe(pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)]))
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    yield "smollm2", tok, 0

    tok = bpe(byte_level(GPT4 % "{1,3}"))
    tok.add_special_tokens(["<|begin_of_text|>", "<|a|>", "<|ab|>", "<|abc|>"])
    state = json.loads(tok.to_str())
    state["model"]["ignore_merges"] = True
    state["model"]["merges"] = state["model"]["merges"][:60]  # now words are tokens that no merge makes
    tok = Tokenizer.from_str(json.dumps(state))
    template = processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="$A $B", special_tokens=[
        ("<|begin_of_text|>", tok.token_to_id("<|begin_of_text|>"))])
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    yield "llama3", tok, 0

    tok = bpe(byte_level(GPT4 % ""), normalizers.NFC())
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    yield "qwen2", tok, 0

    yield "o200k", bpe(byte_level(O200K)), 0

    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok = with_bytes(tok, 500, ["<unk>", "<s>", "</s>"])
    tok.add_special_tokens([added(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    tok.add_tokens([added("[INST]", normalized=True), added("word", normalized=False, single_word=True)])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    bos(tok, "<s>")
    yield "llama2", tok, 2  # 2: as a list of merges that are one text each

    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.pre_tokenizer = pre.Split(" ", "merged_with_previous")
    tok = with_bytes(tok, 500, ["<pad>", "<eos>", "<bos>", "<unk>"])
    tok.add_special_tokens([added(t, normalized=False, special=True)
                            for t in ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")])
    tok.add_tokens([added(t, normalized=False) for t in ["\n" * i for i in range(2, 6)] + ["▁▁", "  ", "<table>"]])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bos(tok, "<bos>")
    yield "gemma", tok, 0

    for scheme in ("first", "always"):
        tok = Tokenizer(models.BPE())
        tok.pre_tokenizer = pre.Metaspace(prepend_scheme=scheme, split=scheme == "always")
        tok = with_bytes(tok, 400, ["<unk>", "<s>", "</s>"])
        tok.add_special_tokens([added(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
        tok.decoder = decoders.Metaspace(prepend_scheme=scheme)
        bos(tok, "<s>")
        yield "metaspace_" + scheme, tok, 0


def pipelines():
    """What stands before one and the same model, whose tokens know no border of words."""
    n, s = normalizers, pre.Split
    behaviours = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
    yield n.NFC(), None
    yield n.NFD(), None
    yield n.NFKC(), None
    yield n.NFKD(), None
    yield n.Lowercase(), None
    yield n.Sequence([n.Strip(), n.NFKC(), n.Lowercase()]), None
    yield n.Strip(left=True, right=False), None
    yield n.Strip(left=False, right=True), None
    yield n.Prepend("xy"), None
    yield n.Replace(Regex(r"\s+"), " "), None
    yield n.Replace(Regex(r"[aeiou]"), ""), None
    yield n.Replace("a", "bcd"), None
    yield n.Sequence([n.Replace(Regex("x*"), "-")]), None
    for b in behaviours:
        yield None, s(" ", b)
        yield None, s(Regex(r"\w+"), b, invert=True)
        yield None, s(Regex(r"[^\s\p{P}]+|\d"), b)
    yield None, s(Regex(r"(?=[A-Z])"), "isolated")
    yield None, s(Regex(r"^a|\d$|\h\h"), "isolated")
    yield None, s(Regex(r"\p{Han}+|[\p{Lu}\p{Nd}]|(?i:the|ſ)|\p{^L}\P{N}"), "merged_with_next")
    yield None, pre.Digits()
    yield None, pre.Digits(individual_digits=True)
    for b in behaviours:
        yield None, pre.Punctuation(b)
    yield None, pre.Whitespace()
    yield None, pre.WhitespaceSplit()
    yield None, pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace(prepend_scheme="first")])
    yield None, pre.Metaspace(replacement="_", prepend_scheme="never")
    yield None, pre.Sequence([pre.Whitespace(), pre.Punctuation(), pre.Digits(True)])
    yield n.NFD(), pre.ByteLevel(add_prefix_space=True)


def ids(tok, texts):
    out = {}
    for name, plain in (("special", False), ("plain", True)):
        tok.encode_special_tokens = plain
        out[name] = [tok.encode(t, add_special_tokens=False).ids for t in texts]
    return out


def write(name, value):
    with open(FOLDER + name, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


def main():
    texts = TEXTS + random_texts(60)
    write("texts.json", texts)
    for name, tok, how in families():
        state = json.loads(tok.to_str())
        tok = Tokenizer.from_str(json.dumps(state))
        if how == 2:
            state["model"]["merges"] = [" ".join(m) for m in state["model"]["merges"]]
        write(name + ".json", state)
        write(name + ".ids.json", ids(tok, texts))

    tok = with_bytes(Tokenizer(models.BPE()), 500, ["<unk>"])
    state = json.loads(tok.to_str())
    state["added_tokens"] = [
        {"id": state["model"]["vocab"]["<unk>"], "content": "<unk>", "special": True},
        {"id": len(state["model"]["vocab"]), "content": "<|a|>", "lstrip": True, "rstrip": True, "special": True},
        {"id": len(state["model"]["vocab"]) + 1, "content": "Word", "single_word": True, "normalized": True},
        {"id": len(state["model"]["vocab"]) + 2, "content": "café", "normalized": True},
    ]
    for t in state["added_tokens"]:
        for key in ("lstrip", "rstrip", "single_word", "normalized", "special"):
            t.setdefault(key, False)
    cases = []
    for normalizer, pre_tokenizer in pipelines():
        tok = Tokenizer.from_str(json.dumps(state))
        if normalizer:
            tok.normalizer = normalizer
        if pre_tokenizer:
            tok.pre_tokenizer = pre_tokenizer
        whole = json.loads(tok.to_str())
        tok = Tokenizer.from_str(json.dumps(whole))  # added tokens are normalised when they are read
        cases.append({"normalizer": whole["normalizer"], "pre_tokenizer": whole["pre_tokenizer"],
                      "ids": ids(tok, texts[:len(TEXTS)])["special"]})
    write("pipelines.json", {"tokenizer": state, "cases": cases})


main()
