"""The one error of a folder that is not what docs/format.md says."""


class FormatError(Exception):
    """`file` of the folder, `tensor` (or layer; "" where it is neither) and what is wrong with it."""

    def __init__(self, file: str, tensor: str, why: str):
        super().__init__(": ".join(part for part in (file, tensor, why) if part))
        self.file = file
        self.tensor = tensor
