"""Out of a Wring folder into Hugging Face's world: a model of transformers, or a plain folder."""

import json
import math
import os
import shutil
import tempfile

from wring_format.artifact import Artifact, read
from wring_format.errors import FormatError

MOST_IN_SHARD = 5_000_000_000
WEIGHT_FILES = (".safetensors", ".safetensors.index.json", ".gguf", ".bin", ".bin.index.json", ".onnx", ".pt", ".pth", ".h5")


BIAS_FIELDS = {"attention_bias": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp_bias": ("gate_proj", "up_proj", "down_proj")}


def read_for_transformers(folder) -> Artifact:
    """The folder with what transformers' class wants beside it: Llama has biases for all layers of a module or for none."""
    artifact = read(folder)
    for key in artifact.config:
        if key.endswith("_per_layer"):
            raise FormatError("config.json", key, "blocks differ, and transformers has one size for all")
    names = set(artifact.names())
    for field, modules in BIAS_FIELDS.items() if artifact.config.get("model_type") == "llama" else ():
        layers = [name for name in artifact.layers if name.rpartition(".")[2] in modules]
        if any(f"{name}.bias" in names for name in layers):
            artifact.config[field] = True
            for name in layers:
                if f"{name}.bias" not in names:
                    artifact.add_zeros(f"{name}.bias", artifact.layers[name].shape[:1])
    return artifact


def round_inputs(module, attributes):
    """Lets a torch module round its inputs as a layer with those attributes of rounded-input does."""
    import torch

    group, zero, int8 = attributes.get("group_size", -1), attributes.get("zero", 0), attributes["type"] == "int8"

    def hook(_, inputs):
        x = inputs[0].float()
        x = x if group < 0 else x.unflatten(-1, (-1, group))
        if "scale" in attributes:
            scale = x.new_tensor(attributes["scale"])
        else:
            scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-30) / (127.5 if int8 else 448)
        if int8:
            x = (x / scale).round().clamp(-128 - zero, 127 - zero) * scale
        else:
            x = (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
        return (x.reshape(inputs[0].shape).to(inputs[0].dtype), *inputs[1:])

    module.register_forward_pre_hook(hook)


def load_transformers(folder, dtype="float32"):
    """AutoModelForCausalLM (encoders: AutoModel) with the folder's weights, ready to run. `dtype`: torch's, or its name.

    The model is built without memory and takes the decoded tensors as they are: one model in `dtype`, and one fp32 tensor.
    """
    import torch
    import transformers

    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    artifact = read_for_transformers(folder)
    state = {name: torch.from_numpy(values).to(dtype) for name, values in artifact.tensors()}
    decoder = artifact.kind == "decoder-lm"
    auto = transformers.AutoModelForCausalLM if decoder else transformers.AutoModel
    config = transformers.AutoConfig.from_pretrained(artifact.path, local_files_only=True, trust_remote_code=False)
    config.update({field: True for field in BIAS_FIELDS if artifact.config.get(field) is True})
    with torch.device("meta"):
        model_type = type(auto.from_config(config, trust_remote_code=False))
    options = {} if decoder or any("pooler." in name for name in state) else {"add_pooling_layer": False}
    model, info = model_type.from_pretrained(None, config=config, state_dict=state, dtype=dtype, output_loading_info=True, **options)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[key]:
            raise FormatError("config.json", str(sorted(info[key])[0]), f"transformers has it among its {key}")
    if decoder and os.path.isfile(os.path.join(artifact.path, "generation_config.json")):
        model.generation_config = transformers.GenerationConfig.from_pretrained(artifact.path, local_files_only=True)
    modules = dict(model.named_modules())
    for name, layer in artifact.layers.items():
        if layer.rep == "rounded-input":
            round_inputs(modules[name], layer.attributes)
    return model


def shards(artifact: Artifact, most: int):
    """Names in order, cut before the one that would pass `most` bytes."""
    cut, held = [[]], 0
    for name in artifact.names():
        size = 4 * math.prod(artifact.shape(name))
        if cut[-1] and held + size > most:
            cut.append([])
            held = 0
        cut[-1].append(name)
        held += size
    return cut


def write_shard(path, artifact: Artifact, names):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        shape = artifact.shape(name)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at := at + 4 * math.prod(shape)]}
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(path, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            stream.write(artifact.weight(name).astype("<f4", copy=False).tobytes())
    return at


def write_dense(folder, out, shard_bytes: int = MOST_IN_SHARD):
    """Writes `out`, which must not exist: fp32 safetensors, config.json and the tokenizer's files; whole or not at all."""
    artifact, out = read_for_transformers(folder), os.path.abspath(out)
    if os.path.lexists(out):
        raise FileExistsError(f"{out} exists")
    for name, layer in artifact.layers.items():
        if layer.rep == "rounded-input":
            raise FormatError("wring.json", name, "its inputs are rounded, which plain weights cannot say")
    half = tempfile.mkdtemp(prefix=".wring-", dir=os.path.dirname(out))
    os.chmod(half, 0o755)
    try:
        shutil.copytree(artifact.path, half, dirs_exist_ok=True,
                        ignore=lambda _, names: [n for n in names if n.endswith(WEIGHT_FILES) or n == "wring.json" or n[0] == "."])
        cut = shards(artifact, shard_bytes)
        files = ["model.safetensors"] if len(cut) == 1 else [f"model-{i + 1:05}-of-{len(cut):05}.safetensors" for i in range(len(cut))]
        total = sum(write_shard(os.path.join(half, file), artifact, names) for file, names in zip(files, cut))
        config = {key: value for key, value in artifact.config.items() if key != "dtype"} | {"torch_dtype": "float32"}
        described = {"config.json": config}
        if len(cut) > 1:
            places = {name: file for file, names in zip(files, cut) for name in names}
            described["model.safetensors.index.json"] = {"metadata": {"total_size": total}, "weight_map": places}
        for file, content in described.items():
            with open(os.path.join(half, file), "w", encoding="utf-8") as stream:
                stream.write(json.dumps(content, indent=2, sort_keys=True) + "\n")
        os.rename(half, out)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
