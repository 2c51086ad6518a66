"""Reads Wring folders (docs/format.md) with numpy alone.

    import wring_format

    artifact = wring_format.read("small/")
    print(artifact.layers["model.layers.0.mlp.up_proj"].rep)            # packed-int
    up = artifact.weight("model.layers.0.mlp.up_proj.weight")           # numpy, fp32 [out, in]
    model = wring_format.load_transformers("small/", dtype="bfloat16")  # needs torch and transformers

`python -m wring_format small/` prints what is stored how; `--to dense/` writes a plain Hugging Face folder.
"""

from wring_format.artifact import Artifact, Layer, read
from wring_format.errors import FormatError
from wring_format.huggingface import load_transformers, write_dense

__all__ = ["Artifact", "FormatError", "Layer", "load_transformers", "read", "write_dense"]
