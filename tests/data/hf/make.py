#!/usr/bin/env python3
"""Small random models as safetensors folders, and what transformers computes on them.

    python3 make.py        # needs torch, transformers and tokenizers; writes beside itself

Each folder NAME has config.json, model.safetensors (or shards with an index),
tokenizer.json, and expected.json: token ids and transformers' float32 logits after them."""
import json, os, shutil
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config,
                          GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

here = os.path.dirname(os.path.abspath(__file__))
N = 260  # 256 bytes and a few merges
sizes = dict(vocab_size=N, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
             bos_token_id=N - 1, eos_token_id=N - 1, pad_token_id=None)
rope = dict(rope_type='llama3', rope_theta=10000.0, factor=4.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=32)
cases = {
    'llama': (LlamaForCausalLM, LlamaConfig(**sizes, rope_parameters=rope), '40KB', torch.bfloat16),
    'llama-linear': (LlamaForCausalLM, LlamaConfig(
        **sizes, attention_bias=True, tie_word_embeddings=True,
        rope_parameters=dict(rope_type='linear', rope_theta=5000.0, factor=2.0)), '5GB', torch.float16),
    'qwen2': (Qwen2ForCausalLM, Qwen2Config(**sizes, rms_norm_eps=1e-5), '5GB', torch.float32),
    'qwen3': (Qwen3ForCausalLM, Qwen3Config(**sizes, head_dim=12), '5GB', torch.bfloat16),
    'gemma3': (Gemma3ForCausalLM, Gemma3TextConfig(
        **{**sizes, 'num_hidden_layers': 3}, head_dim=8, query_pre_attn_scalar=10, sliding_window=4,
        layer_types=['sliding_attention', 'full_attention', 'sliding_attention']), '5GB', torch.bfloat16),
    'gpt2': (GPT2LMHeadModel, GPT2Config(
        vocab_size=N, n_embd=32, n_head=4, n_layer=2, n_positions=64, bos_token_id=N - 1,
        eos_token_id=N - 1), '5GB', torch.float32),
}


def tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {c: i for i, c in enumerate(alphabet)}
    merges = [('t', 'h'), ('th', 'e'), ('\u0120', 'a')]
    for a, b in merges:
        vocab[a + b] = len(vocab)
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(['<|end|>'])
    return t


for seed, (name, (kind, config, shard, dtype)) in enumerate(cases.items()):
    torch.manual_seed(seed)
    folder = f'{here}/{name}'
    shutil.rmtree(folder, ignore_errors=True)
    model = kind(config)
    with torch.no_grad():
        for p in model.parameters():  # large enough that every part of a block shows in the logits
            p.copy_(torch.randn_like(p) * (0.3 if p.dim() > 1 else 0.2) + (1 if p.dim() == 1 and name not in ('gemma3',) else 0))
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    tokenizer().save(f'{folder}/tokenizer.json')
    os.path.exists(f'{folder}/generation_config.json') and os.remove(f'{folder}/generation_config.json')
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation='eager').eval()
    g = torch.Generator().manual_seed(100 + seed)
    ids = torch.randint(0, N - 1, (1, 12), generator=g)
    with torch.no_grad():
        logits = model(ids).logits[0, -1].double().tolist()
    json.dump({'ids': ids[0].tolist(), 'logits': [round(v, 6) for v in logits]}, open(f'{folder}/expected.json', 'w'))
    print(name, max(map(abs, logits)))
