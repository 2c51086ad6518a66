// Labelled examples as tensors: folders of images, idx files, npz and safetensors.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/file_tree.h"

namespace wring {

struct LabelledData {
  at::Tensor inputs;  // images: uint8 [n, height, width, channels]; else uint8 or float [n, ...]
  at::Tensor labels;  // int64 [n]
  std::vector<std::string> classes;  // names in the order of labels, where the files have names

  bool are_images() const { return inputs.scalar_type() == at::kByte && inputs.dim() == 4; }
  std::int64_t count() const { return labels.size(0); }
};

using ImageSize = std::pair<std::int64_t, std::int64_t>;  // height, width

// Reads the data set `name` ("train"), whichever of these the tree is:
//   - a folder of images for each class; classes are numbered in the order of their names;
//   - an .npz or .safetensors file with "images" (or inputs, data, x) and "labels" (or targets, y), or the
//   same
//     followed by _NAME ("x_train"). Bytes [n, h, w], [n, h, w, channels] or [n, channels, h, w] are images;
//   - an idx file of images and one of labels, gzipped or not; of several pairs those named for `name`.
// Images are resized to `size`, bilinear with a filter as wide as the step; without it all must have one
// size. Grey images beside coloured ones become coloured. Throws Error(kInvalidArgument) that names the file:
// "BAD_DATA", "BAD_IMAGE", "BAD_LABEL", "NOT_FINITE"; kResourceExhausted "DATA_TOO_LARGE" where it would take
// more than half of the machine's memory.
LabelledData read_labelled(const FileTree& files, const std::string& name, std::optional<ImageSize> size);

}  // namespace wring
