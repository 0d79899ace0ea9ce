"""folders.json: what transformers makes of tests/data/hf/llama/tokenizer.json beside other
files that name tokens. `python3 make_folders.py` (transformers 4.51.3, tokenizers 0.21.4)."""
import json, os, tempfile
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = json.load(open(f"{HERE}/../hf/llama/tokenizer.json"))
TEXTS = ["a <|end|> b", "a <x> b<y>", "the man <x>", "<s>th", " <x><|end|> the", "other the"]
END = "<|end|>"


def token(content, **flags):
    plain = dict(lstrip=False, rstrip=False, single_word=False, normalized=False, special=False)
    return dict(content=content, **{**plain, **flags})


def decoder(**more):
    return {"added_tokens_decoder": {"259": token(END, special=True), **{k[1:]: v for k, v in more.items()}}}


# name, tokenizer_config.json, special_tokens_map.json, added_tokens.json
CASES = [
    ("nothing", {}, None, None),
    ("white space is taken along", {"added_tokens_decoder": {"259": token(END, lstrip=True, rstrip=True, special=True)}}, None, None),
    ("by its text, not by its id", {"added_tokens_decoder": {"12": token(END, lstrip=True, special=True)}}, None, None),
    ("a new token", decoder(_260=token("<x>")), None, None),
    ("a new special token, white space", decoder(_260=token("<x>", special=True, rstrip=True)), None, None),
    ("ids with gaps only sort", decoder(_300=token("<x>"), _280=token("<y>")), None, None),
    ("sorted as numbers", decoder(_1000=token("<x>"), _999=token("<y>")), None, None),
    ("a token of the vocabulary", {"added_tokens_decoder": {"257": token("the", single_word=True)}}, None, None),
    ("normalized", decoder(_260=token("<x>", normalized=True)), None, None),
    ("a special token that is new", {"bos_token": "<s>"}, None, None),
    ("a special token of the vocabulary", {"bos_token": "th"}, None, None),
    ("the same with a decoder", {"bos_token": "<s>", **decoder()}, None, None),
    ("with flags", {"eos_token": dict(token("<x>", lstrip=True), __type="AddedToken")}, None, None),
    ("in their order", {"pad_token": "<x>", "unk_token": "<y>"}, None, None),
    ("additional", {"additional_special_tokens": ["<x>", END]}, None, None),
    ("additional in both", {"additional_special_tokens": ["<x>"]}, {"additional_special_tokens": ["<y>", "<x>"]}, None),
    ("additional in both, old tokens", {"additional_special_tokens": ["<y>"]}, {"additional_special_tokens": ["<x>"]}, {"<x>": 260}),
    ("one id twice", {}, None, {"<x>": 260, "<y>": 260}),
    ("extra", {"extra_special_tokens": {"image": "<x>"}}, None, None),
    ("the map", {}, {"bos_token": "<s>", "eos_token": token(END, lstrip=True)}, None),
    ("no map beside a decoder", decoder(), {"bos_token": "<s>"}, None),
    ("the map wins without one", {"eos_token": "<x>"}, {"eos_token": END}, None),
    ("added_tokens.json", {}, None, {"<x>": 260, END: 259}),
    ("added_tokens.json, sorted", {}, None, {"<x>": 270, "<y>": 265}),
    ("added_tokens.json, special", {"bos_token": "<x>"}, None, {"<x>": 260}),
    ("no added_tokens.json beside a decoder", decoder(), None, {"<x>": 260}),
    ("a space before", {"add_prefix_space": True}, None, None),
    ("a class that begins with BOS", {"tokenizer_class": "LlamaTokenizer", "bos_token": END, "eos_token": END, "unk_token": None}, None, None),
    ("such a class told not to", {"tokenizer_class": "LlamaTokenizer", "bos_token": END, "eos_token": END, "unk_token": None, "add_bos_token": False}, None, None),
]


def run(config, special_map, added):
    with tempfile.TemporaryDirectory() as folder:
        def put(name, value):
            if value is not None:
                json.dump(value, open(f"{folder}/{name}", "w"))
        put("tokenizer.json", BASE)
        put("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **config})
        put("special_tokens_map.json", special_map)
        put("added_tokens.json", added)
        t = AutoTokenizer.from_pretrained(folder)
        return dict(tokens=len(t), ids=[t.encode(x, add_special_tokens=False) for x in TEXTS],
                    begun=[t.encode(x) for x in TEXTS])


out = [dict(name=n, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast", **c},
            special_tokens_map=m, added_tokens=a, **run(c, m, a)) for n, c, m, a in CASES]
with open(f"{HERE}/folders.json", "w") as f:
    f.write(json.dumps({"texts": TEXTS}, ensure_ascii=False)[:-1] + ', "cases": [\n')
    f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in out) + "\n]}\n")
