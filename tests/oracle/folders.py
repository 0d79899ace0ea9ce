#!/usr/bin/env python3
"""A real model as a safetensors folder, beside transformers: ids, logits, an edited copy.

    python3 tests/oracle/folders.py MODEL.gguf ORACLE.json    # in the repository's root

MODEL.gguf is one that tools/fetch_model fetched, ORACLE.json its file in tests/data/oracles.
Needs torch, transformers (4.51.3), accelerate and gguf. transformers makes the folder from
the GGUF, whole and in shards; of gemma3, whose GGUF it does not read, this script does."""
import json
import os
import subprocess
import sys
import tempfile

import numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

KNOWEDIT = os.environ.get("KNOWEDIT", "build/knowedit")
FACT = ["--subject", "Leonardo DiCaprio", "--target", "Syria", "--prompt",
        "The name of the country of citizenship of Leonardo DiCaprio is"]
GEMMA = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
         "attn_k_norm": "self_attn.k_norm", "post_attention_norm": "post_attention_layernorm",
         "ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def gemma(path):
    """A model and a tokenizer of transformers, from the keys and tensors of the GGUF."""
    from gguf import GGUFReader, dequantize
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GemmaTokenizerFast
    from transformers.convert_slow_tokenizer import generate_merges
    file = GGUFReader(path)
    key = lambda name: file.fields[name].contents()
    size = lambda name: key("gemma3." + name)
    tokens, scores = key("tokenizer.ggml.tokens"), key("tokenizer.ggml.scores")
    model = Gemma3ForCausalLM(Gemma3TextConfig(
        vocab_size=len(tokens), hidden_size=size("embedding_length"), intermediate_size=size("feed_forward_length"),
        num_hidden_layers=size("block_count"), num_attention_heads=size("attention.head_count"),
        num_key_value_heads=size("attention.head_count_kv"), head_dim=size("attention.key_length"),
        max_position_embeddings=size("context_length"), rms_norm_eps=float(size("attention.layer_norm_rms_epsilon")),
        rope_theta=float(size("rope.freq_base")), sliding_window=size("attention.sliding_window"),
        query_pre_attn_scalar=size("attention.key_length"), bos_token_id=key("tokenizer.ggml.bos_token_id"),
        eos_token_id=key("tokenizer.ggml.eos_token_id"), torch_dtype="float32"))
    state = {}
    for tensor in file.tensors:
        value = torch.from_numpy(numpy.array(dequantize(tensor.data, tensor.tensor_type), dtype=numpy.float32))
        if tensor.name == "token_embd.weight":
            state["model.embed_tokens.weight"] = value
        elif tensor.name == "output_norm.weight":
            state["model.norm.weight"] = value - 1
        else:
            _, layer, part, _ = tensor.name.split(".")
            state[f"model.layers.{layer}.{GEMMA[part]}.weight"] = value - 1 if "norm" in part else value
    lost = model.load_state_dict(state, strict=False)
    assert lost.missing_keys == ["lm_head.weight"] and not lost.unexpected_keys, lost
    vocab = {text: i for i, text in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocab, generate_merges(vocab, dict(zip(tokens, scores))), unk_token="<unk>",
                                fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    types = key("tokenizer.ggml.token_type")
    made.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, y in zip(tokens, types) if y == 3])
    made.add_tokens([AddedToken(t, normalized=False) for t, y in zip(tokens, types) if y == 4])
    return model, GemmaTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
                                     pad_token="<pad>")


def make(path, whole, shards):
    if "gemma3" in os.path.basename(path):
        model, tokenizer = gemma(path)
    else:
        where = dict(pretrained_model_name_or_path=os.path.dirname(path), gguf_file=os.path.basename(path))
        model = AutoModelForCausalLM.from_pretrained(**where, torch_dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    for folder, most in ((whole, "99GB"), (shards, "300MB")):
        model.save_pretrained(folder, max_shard_size=most)
        tokenizer.save_pretrained(folder)


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()


def run(*args, lines=None):
    done = subprocess.run([KNOWEDIT, *map(str, args), "--json"], input=lines, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"knowedit {args[0]}: exit {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def compare_ids(folder, texts):
    tokenizer, wrong = AutoTokenizer.from_pretrained(folder), 0
    lines = [text for text in texts if not set("\r\n") & set(text)]  # in one run
    for flags, special in (["--parse-special"], False), (["--parse-special", "--add-special"], True):
        command = ["tokenize", "-m", folder, *flags]
        ours = run(*command, lines="".join(line + "\n" for line in lines))["items"]
        for text in texts:
            item = ours[lines.index(text)] if text in lines else run(*command, "--text", text)["items"][0]
            wrong += item["ids"] != tokenizer.encode(text, add_special_tokens=special)
    print(f"ids: {len(texts)} texts, with BOS and without: {wrong} differ", flush=True)


def compare_logits(folder, prompts):
    model, worst = load(folder), 0
    for prompt in prompts:
        with torch.no_grad():
            logits = model(torch.tensor([prompt["ids"]])).logits[0, -1]
        ours = run("ask", "-m", folder, "--tokens-in", ",".join(map(str, prompt["ids"])), "--top", 20, "-n", 0)
        worst = max([worst] + [abs(logits[i].item() - value) for i, value in ours["answers"][0]["top"]])
    print(f"logits: {len(prompts)} prompts, the 20 largest: {worst:.1e}", flush=True)


def compare_edited(folder, edited):
    run("edit", "-m", folder, "-o", edited, *FACT)
    ours = run("ask", "-m", edited, "-n", 6, FACT[-1])["answers"][0]
    ids = ours["prompt_tokens"]
    theirs = load(edited).generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                                   max_new_tokens=6, do_sample=False)[0][len(ids):].tolist()
    print(f"edited: {ours['text']!r}, ids {ours['tokens']}, transformers {theirs}:",
          "equal" if theirs == ours["tokens"] else "DIFFERENT")


def main():
    with tempfile.TemporaryDirectory() as work:
        path, oracle = os.path.realpath(sys.argv[1]), json.load(open(sys.argv[2]))
        whole, shards = f"{work}/whole", f"{work}/shards"
        make(path, whole, shards)
        print("shards and one file:", len(run("diff", whole, shards)["tensors"]), "tensors differ")
        compare_ids(whole, [item["text"] for item in oracle["tokens"]])
        compare_logits(shards, oracle["forward"][:6])
        compare_edited(shards, f"{work}/edited")


if __name__ == "__main__":
    main()
