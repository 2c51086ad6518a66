"""Prints what a Wring folder holds, or writes it as a plain Hugging Face folder."""

import argparse
import sys

from wring_format import FormatError, read, write_dense


def table(artifact):
    width = max(map(len, artifact.layers), default=5)
    yield f"{'layer':{width}}  {'rep':10}  {'bits':>6}  shape"
    for layer in artifact.layers.values():
        yield f"{layer.name:{width}}  {layer.rep:10}  {layer.bits:6.2f}  {' x '.join(map(str, layer.shape))}"
    weights = [(layer.shape[0] * layer.shape[1], layer.bits) for layer in artifact.layers.values()]
    count = sum(n for n, _ in weights)
    yield f"{len(weights)} matrices of {count:,} weights, {sum(n * bits for n, bits in weights) / max(1, count):.3f} bits each"


def main():
    parser = argparse.ArgumentParser(prog="python -m wring_format", description=__doc__)
    parser.add_argument("folder", help="Wring folder")
    parser.add_argument("--to", metavar="OUT", help="write the weights as fp32 safetensors into this folder, which must not exist")
    arguments = parser.parse_args()
    try:
        if arguments.to:
            write_dense(arguments.folder, arguments.to)
        else:
            print("\n".join(table(read(arguments.folder))))
    except (FormatError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
