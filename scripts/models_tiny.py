"""Makes build/models/tiny-{256,184,128,88}: untrained Llama-shaped decoders over bytes, for what is trained in place.

The blocks' matrices of the narrower ones have 1/2, 1/4 and 1/8 of the widest one's weights (within 0.1 %): what a pruned one of them is
compared with. Weights are seeded: N(0, 0.02), those that write into the residual stream smaller by sqrt(2 blocks), as in GPT-2.
"""
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

BLOCKS, HEADS, SEED = 4, 4, 0
SIZES = {256: 768, 184: 526, 128: 384, 88: 286}  # hidden width -> FFN channels


def byte_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def weights(hidden, ffn):
    rng = np.random.default_rng(SEED)

    def matrix(out, width, spread=0.02):
        return rng.normal(0, spread, (out, width)).astype(np.float32)

    written = 0.02 / np.sqrt(2 * BLOCKS)
    tensors = {"model.embed_tokens.weight": matrix(256, hidden), "model.norm.weight": np.ones(hidden, np.float32)}
    for i in range(BLOCKS):
        block = f"model.layers.{i}."
        for name in ("q", "k", "v"):
            tensors[f"{block}self_attn.{name}_proj.weight"] = matrix(hidden, hidden)
        tensors[f"{block}self_attn.o_proj.weight"] = matrix(hidden, hidden, written)
        tensors[f"{block}mlp.gate_proj.weight"], tensors[f"{block}mlp.up_proj.weight"] = matrix(ffn, hidden), matrix(ffn, hidden)
        tensors[f"{block}mlp.down_proj.weight"] = matrix(hidden, ffn, written)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{block}{name}.weight"] = np.ones(hidden, np.float32)
    return tensors


def config(hidden, ffn):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": ffn,
            "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": hidden // HEADS,
            "vocab_size": 256, "rms_norm_eps": 1e-5, "max_position_embeddings": 1024, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": True, "torch_dtype": "float32"}


def main():
    for hidden, ffn in SIZES.items():
        folder = Path("build/models") / f"tiny-{hidden}"
        if (folder / "tokenizer.json").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        save_file(weights(hidden, ffn), folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config(hidden, ffn), indent=2) + "\n", encoding="utf-8")
        byte_tokenizer().save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    main()
