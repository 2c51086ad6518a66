"""Which tensors a model family has, and their shapes by config.json: a renamed or missing tensor is found."""

from wring_format.errors import FormatError
from wring_format.files import integer

FILE = "config.json"


def size(config, key, default=None, high=1 << 24):
    if default is not None and config.get(key) is None:
        return default
    return integer(config, key, 1, high, FILE)


def llama(config, present):
    hidden, heads = size(config, "hidden_size"), size(config, "num_attention_heads")
    q = heads * size(config, "head_dim", hidden // heads)
    kv = size(config, "num_key_value_heads", heads) * (q // heads)
    ffn, vocabulary = size(config, "intermediate_size"), size(config, "vocab_size")
    needed = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    layers = {} if config.get("tie_word_embeddings") is True else {"lm_head": (vocabulary, hidden)}
    for i in range(size(config, "num_hidden_layers", high=4096)):
        block = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            needed[f"{block}{norm}.weight"] = (hidden,)
        for name, shape in {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
                            "self_attn.o_proj": (hidden, q), "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden),
                            "mlp.down_proj": (hidden, ffn)}.items():
            layers[block + name] = shape
    needed.update({f"{name}.weight": shape for name, shape in layers.items()})
    return needed, {f"{name}.bias": shape[:1] for name, shape in layers.items()}


def bert(config, present):
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in present else ""
    hidden, ffn = size(config, "hidden_size"), size(config, "intermediate_size")
    embeddings = prefix + "embeddings."
    needed = {f"{embeddings}{table}_embeddings.weight": (None, hidden) for table in ("word", "position", "token_type")}
    norms, layers = [f"{embeddings}LayerNorm"], {}
    for i in range(size(config, "num_hidden_layers", high=4096)):
        block = f"{prefix}encoder.layer.{i}."
        norms += [f"{block}attention.output.LayerNorm", f"{block}output.LayerNorm"]
        layers.update({f"{block}attention.{name}": (hidden, hidden) for name in ("self.query", "self.key", "self.value", "output.dense")})
        layers.update({f"{block}intermediate.dense": (ffn, hidden), f"{block}output.dense": (hidden, ffn)})
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
