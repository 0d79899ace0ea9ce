#!/usr/bin/env python3
"""The recorded continuations of Gemma 3 beside transformers without its cache, whole text each time.

    python3 tests/oracle/uncached.py gemma3-270m.gguf ORACLE.json    # in the repository's root

ORACLE.json is in tests/data/oracles. Needs torch, transformers (4.51.3, which made the records) and gguf. Says where a
recorded id is not the likeliest, what is, and by how many logits, and what comes after the last; the recorded logits
are compared too."""
import json
import sys

import torch

from folders import gemma

model, _ = gemma(sys.argv[1])
model.eval()


@torch.no_grad()
def logits(ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


for prompt in json.load(open(sys.argv[2]))["forward"]:
    ids, wanted = prompt["ids"], prompt["greedy"]
    last = logits(ids)[-1]
    apart = max(abs(float(last[i]) - value) for i, value in prompt["rows"][-1]["top"])
    print(f"{prompt['text'][:40]!r}: recorded logits differ by {apart:.1e}")
    if not wanted:
        continue
    rows = logits(ids + wanted)[len(ids) - 1:]
    for n, (id, row) in enumerate(zip(wanted, rows), 1):
        best = int(row.argmax())
        if best != id:
            print(f"  id {n} of {len(wanted)}: recorded {id}, likeliest {best} by {float(row[best] - row[id]):.2f}")
    (first, second), (best, other) = ([x.tolist() for x in part] for part in rows[-1].topk(2))
    print(f"  id {len(wanted) + 1} would be {best}, before {other} by {first - second:.2f}")
