"""Makes Hugging Face folders of SmolLM2 out of its GGUF: plain (fp32, bf16), and off its 4-bit grid (fp32, bf16).

The GGUF's matrices lie on a 4-bit asymmetric group-32 grid, which such a quantiser reproduces without any loss. The
off-grid model is the same function with rescaled weights: a diagonal s is put between two neighbours that commute with
it, and its inverse beside it, so that no group has one grid for all its values.
"""
import copy
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

MODELS = Path("build/models")
GGUF = MODELS / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
RECORD = MODELS / "smollm2-offgrid.json"  # written last: there when all of it is there
SEED = 1
LEAST, MOST = 0.8, 1.25


def load_plain():
    """The GGUF's values in fp32, in a model that transformers is willing to save."""
    loaded = AutoModelForCausalLM.from_pretrained(GGUF.parent, gguf_file=GGUF.name, dtype=torch.float32)
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(loaded).__name__]
    config.name_or_path = ""
    model = type(loaded)(config).to(torch.float32)
    model.load_state_dict(loaded.state_dict())
    return model.eval()


def random_scales(count, generator):
    return LEAST + (MOST - LEAST) * torch.rand(count, generator=generator)


@torch.no_grad()
def rescale(model, generator):
    """Rescales every block in place; logits stay what they are up to rounding. The final norm is left: its head is the tied embedding."""
    config = model.config
    group = config.num_attention_heads // config.num_key_value_heads
    for block in model.model.layers:
        attention, mlp = block.self_attn, block.mlp
        for norm, readers in ((block.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                              (block.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj))):
            s = random_scales(norm.weight.numel(), generator)
            norm.weight.mul_(s)
            for reader in readers:
                reader.weight.div_(s)
        s = random_scales(attention.v_proj.out_features, generator)
        attention.v_proj.weight.mul_(s[:, None])
        of_heads = s.view(config.num_key_value_heads, 1, -1).expand(-1, group, -1).reshape(-1)  # a KV head's query heads share it
        attention.o_proj.weight.div_(of_heads)
        s = random_scales(mlp.up_proj.out_features, generator)
        mlp.up_proj.weight.mul_(s[:, None])
        mlp.down_proj.weight.div_(s)


@torch.no_grad()
def rounding_error(model):
    """|Q(W) - W| / |W| over all block matrices, Q: nearest of 16 values between a group of 32's least and greatest."""
    wrong = total = 0.0
    for name, weight in model.named_parameters():
        if weight.dim() != 2 or ".layers." not in name:
            continue
        groups = weight.view(-1, 32).double()
        low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
        step = ((high - low) / 15).clamp_min(1e-30)
        wrong += ((groups - low).div(step).round() * step + low - groups).square().sum().item()
        total += groups.square().sum().item()
    return (wrong / total) ** 0.5


@torch.no_grad()
def some_logits(model):
    ids = torch.randint(0, model.config.vocab_size, (2, 128), generator=torch.Generator().manual_seed(7))
    return model(ids).logits


def check(what, value, least, most):
    print(f"models: {what}: {value:.2g}", file=sys.stderr)
    if not least <= value <= most:
        sys.exit(f"models: {what} is {value}, not within [{least}, {most}]")


def save(model, tokenizer, name, dtype):
    """Writes the folder `name` at once; the model's parameters become `dtype`."""
    with tempfile.TemporaryDirectory(dir=MODELS) as scratch:
        folder = Path(scratch) / name
        model.config.dtype = dtype
        model.to(dtype).save_pretrained(folder, max_shard_size="10GB")
        tokenizer.save_pretrained(folder)
        shutil.copy(GGUF.parent / "LICENSE", folder / "LICENSE")
        (folder / "model.safetensors").chmod(0o644)
        shutil.rmtree(MODELS / name, ignore_errors=True)
        folder.rename(MODELS / name)
    with open(MODELS / name / "model.safetensors", "rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


def main():
    transformers.utils.logging.disable_progress_bar()
    print("models: smollm2-offgrid and its kin", file=sys.stderr)
    tokenizer = AutoTokenizer.from_pretrained(GGUF.parent, gguf_file=GGUF.name)
    plain = load_plain()
    offgrid = copy.deepcopy(plain)
    rescale(offgrid, torch.Generator().manual_seed(SEED))
    check("largest difference of logits, off-grid to plain", (some_logits(offgrid) - some_logits(plain)).abs().max().item(), 0, 1e-3)
    check("4-bit group-32 rounding error, plain", rounding_error(plain), 0, 1e-6)
    check("4-bit group-32 rounding error, off-grid", rounding_error(offgrid), 0.07, 0.09)
    digests = {
        "smollm2-fp32": save(plain, tokenizer, "smollm2-fp32", torch.float32),
        "smollm2-offgrid": save(offgrid, tokenizer, "smollm2-offgrid", torch.float32),
        "smollm2-bf16": save(plain, tokenizer, "smollm2-bf16", torch.bfloat16),
        "smollm2-offgrid-bf16": save(offgrid, tokenizer, "smollm2-offgrid-bf16", torch.bfloat16),
    }
    RECORD.write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    main()
