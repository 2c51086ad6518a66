"""Which tensors a model family has, and their shapes by config.json: a renamed or missing tensor is found."""

from wring_format.errors import FormatError
from wring_format.files import integer

FILE = "config.json"


def size(config, key, default=None, high=1 << 24):
    if default is not None and config.get(key) is None:
        return default
    return integer(config, key, 1, high, FILE)


def sizes(config, key, blocks, plain):
    """One a block: the list KEY_per_layer where there is one; 0 where a block has no such module."""
    name = f"{key}_per_layer"
    if name not in config:
        return [plain] * blocks
    listed = config[name]
    if not isinstance(listed, list) or len(listed) != blocks or any(type(n) is not int or not 0 <= n <= 1 << 24 for n in listed):
        raise FormatError(FILE, name, f"is no list of one size from 0 for each of {blocks} blocks")
    return listed


def add_module(layers, residues, matrices):
    """Attention or MLP; where it was cut out, what may be left of it: the bias of its last layer. `matrices`: {name: (out, in)}."""
    last, shape = list(matrices.items())[-1]
    if 0 in shape:
        residues[f"{last}.bias"] = shape[:1]
    else:
        layers.update(matrices)


def llama(config, present):
    hidden, plain_heads = size(config, "hidden_size"), size(config, "num_attention_heads")
    head_dim, blocks = size(config, "head_dim", hidden // plain_heads), size(config, "num_hidden_layers", high=4096)
    heads = sizes(config, "num_attention_heads", blocks, plain_heads)
    kv_heads = sizes(config, "num_key_value_heads", blocks, size(config, "num_key_value_heads", plain_heads))
    query, value = sizes(config, "qk_head_dim", blocks, head_dim), sizes(config, "v_head_dim", blocks, head_dim)
    widths, vocabulary = sizes(config, "intermediate_size", blocks, size(config, "intermediate_size")), size(config, "vocab_size")
    needed = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    layers, residues = {} if config.get("tie_word_embeddings") is True else {"lm_head": (vocabulary, hidden)}, {}
    for i, ffn in enumerate(widths):
        block, q, k, v, o = f"model.layers.{i}.", heads[i] * query[i], kv_heads[i] * query[i], kv_heads[i] * value[i], heads[i] * value[i]
        for norm in ("input_layernorm", "post_attention_layernorm"):
            needed[f"{block}{norm}.weight"] = (hidden,)
        attention, mlp = block + "self_attn.", block + "mlp."
        add_module(layers, residues, {attention + "q_proj": (q, hidden), attention + "k_proj": (k, hidden), attention + "v_proj": (v, hidden),
                                      attention + "o_proj": (hidden, o)})
        if heads[i] > 0 and query[i] < head_dim:
            needed[attention + "rope_pairs"] = (kv_heads[i], query[i] // 2)
        add_module(layers, residues, {mlp + "gate_proj": (ffn, hidden), mlp + "up_proj": (ffn, hidden), mlp + "down_proj": (hidden, ffn)})
    needed.update({f"{name}.weight": shape for name, shape in layers.items()})
    return needed, residues | {f"{name}.bias": shape[:1] for name, shape in layers.items()}


def bert(config, present):
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in present else ""
    hidden, plain_heads = size(config, "hidden_size"), size(config, "num_attention_heads")
    head_dim, blocks = size(config, "head_dim", hidden // plain_heads), size(config, "num_hidden_layers", high=4096)
    heads = sizes(config, "num_attention_heads", blocks, plain_heads)
    widths = sizes(config, "intermediate_size", blocks, size(config, "intermediate_size"))
    embeddings = prefix + "embeddings."
    needed = {f"{embeddings}{table}_embeddings.weight": (None, hidden) for table in ("word", "position", "token_type")}
    norms, layers, residues = [f"{embeddings}LayerNorm"], {}, {}
    for i, ffn in enumerate(widths):
        block, q = f"{prefix}encoder.layer.{i}.", heads[i] * head_dim
        norms += [f"{block}attention.output.LayerNorm", f"{block}output.LayerNorm"]
        add_module(layers, residues, {f"{block}attention.self.{name}": (q, hidden) for name in ("query", "key", "value")}
                   | {f"{block}attention.output.dense": (hidden, q)})
        add_module(layers, residues, {f"{block}intermediate.dense": (ffn, hidden), f"{block}output.dense": (hidden, ffn)})
    needed.update(residues)
    for name in norms:
        needed[f"{name}.weight"] = needed[f"{name}.bias"] = (hidden,)
    for name, shape in layers.items():
        needed.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})
    return needed, bert_heads(prefix, hidden)


def bert_heads(prefix, hidden):
    """What may stand on the hidden states; None where config.json does not say a size."""
    heads = {f"{prefix}pooler.dense": (hidden, hidden), "classifier": (None, hidden), "qa_outputs": (None, hidden),
             "cls.seq_relationship": (None, hidden), "cls.predictions.transform.dense": (hidden, hidden),
             "cls.predictions.transform.LayerNorm": (hidden,), "cls.predictions.decoder": (None, hidden)}
    tensors = {f"{name}.weight": shape for name, shape in heads.items()} | {f"{name}.bias": shape[:1] for name, shape in heads.items()}
    return tensors | {"cls.predictions.bias": (None,)}


FAMILIES = {"llama": llama, "bert": bert}


def check(family: str, config: dict, shapes: dict):
    """`shapes` of all dense tensors; families that are not known here are not checked."""
    if family not in FAMILIES:
        return
    needed, optional = FAMILIES[family](config, shapes)
    for name in needed:
        if name not in shapes:
            raise FormatError("wring.json", name, f"is missing, and a {family} has one")
    for name, shape in shapes.items():
        wanted = needed.get(name, optional.get(name))
        if wanted is None:
            raise FormatError("wring.json", name, f"a {family} has no such tensor")
        if len(shape) != len(wanted) or any(b not in (None, a) for a, b in zip(shape, wanted)):
            raise FormatError("wring.json", name, f"is {list(shape)}, config.json says {list(wanted)}")
