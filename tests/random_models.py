"""Small random models with tokenizers, as Hugging Face folders: other sizes and options than the real models have."""
import re

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast,
                          Qwen2Config, Qwen2ForCausalLM)

TEXT = ["The quick brown fox jumps over the lazy dog, and the dog does not mind it at all.",
        "Call me Ishmael. Some years ago, never mind how long precisely, I thought I would sail about a little.",
        "A model is made of layers, a layer of weights; what can be left out of them is what is asked here.",
        "def main():\n    return 42  # the answer\n"] * 8

DECODERS = {"llama": (LlamaConfig, LlamaForCausalLM), "mistral": (MistralConfig, MistralForCausalLM),
            "qwen2": (Qwen2Config, Qwen2ForCausalLM)}


def bpe_tokenizer(vocabulary):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def wordpiece_tokenizer(vocabulary):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = dict.fromkeys(re.findall(r"\w+|[^\w\s]", " ".join(TEXT).lower()))
    characters = sorted(set("".join(words)))
    tokens = dict.fromkeys(special + characters + ["##" + character for character in characters] + list(words))  # a trainer's ties fall anyhow
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(list(tokens)[:vocabulary])}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
                                   mask_token="[MASK]")


@torch.no_grad()
def randomise(model, seed):
    """Every parameter from the seed, gains and biases too: at their initial ones and zeros, mistakes with them would not show."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            parameter.copy_((1 + 0.2 * noise) if "norm" in name.lower() and name.endswith("weight") else 0.2 * noise)
        else:
            parameter.copy_(noise if "embed" in name else noise / parameter.shape[-1] ** 0.5)
    return model.eval()


def save(model, tokenizer, folder, dtype, shard):
    model.config.dtype = dtype
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)


def make_decoder(folder, family="llama", seed=0, dtype=torch.float32, shard="1GB", **overrides):
    """Writes a decoder; `overrides` are fields of its config."""
    fields = dict(vocab_size=384, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=False,
                  bos_token_id=0, eos_token_id=0, pad_token_id=None)
    config_type, model_type = DECODERS[family]
    fields.update(overrides)
    save(randomise(model_type(config_type(**fields)), seed), bpe_tokenizer(fields["vocab_size"]), folder, dtype, shard)


def make_encoder(folder, seed=0, dtype=torch.float32, shard="1GB", **overrides):
    """Writes a BERT; `overrides` are fields of its config."""
    fields = dict(vocab_size=300, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
                  max_position_embeddings=512)
    fields.update(overrides)
    save(randomise(BertModel(BertConfig(**fields)), seed), wordpiece_tokenizer(fields["vocab_size"]), folder, dtype, shard)
