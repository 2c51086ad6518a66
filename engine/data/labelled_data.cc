// Which of the known forms a tree has, and its pixels and labels side by side.
#include "engine/data/labelled_data.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <span>

#include "common/error.h"
#include "common/text.h"
#include "engine/model/tensor_file.h"
#include "engine/run/hardware.h"
#include "formats/datasets/arrays.h"
#include "formats/datasets/image.h"
#include "formats/safetensors.h"

namespace wring {
namespace {

constexpr std::array<std::string_view, 4> kInputNames{"images", "inputs", "data", "x"};
constexpr std::array<std::string_view, 3> kLabelNames{"labels", "targets", "y"};

[[noreturn]] void throw_bad(const std::string& field, const std::string& why, const std::string& hint = {}) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_DATA", why, field, hint);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool ends_in(const std::string& path, std::initializer_list<const char*> endings) {
  const std::string small = lower(path);
  return std::any_of(endings.begin(), endings.end(), [&](const char* e) { return small.ends_with(e); });
}

bool is_image(const std::string& path) {
  return ends_in(path, {".jpg", ".jpeg", ".png"});
}

bool is_idx(const std::string& path) {
  return ends_in(path, {"ubyte", "ubyte.gz", ".idx", ".idx.gz"});
}

std::uint64_t most_bytes() {
  const std::uint64_t memory = total_memory_bytes();
  return memory > 0 ? memory / 2 : kMostArrayBytes;
}

void check_bytes(double count, double each, const std::string& name) {
  const double bytes = count * each;
  if (bytes > static_cast<double>(most_bytes()))
    throw Error(ErrorCode::kResourceExhausted, "DATA_TOO_LARGE",
                "the examples would take " + human_bytes(static_cast<std::uint64_t>(bytes)) +
                    ", more than half of this machine's memory",
                "data." + name, "Hand in fewer of them, or smaller ones.");
}

at::Tensor pixels_of(Image image) {
  auto kept = std::make_shared<std::vector<std::uint8_t>>(std::move(image.pixels));
  return at::from_blob(
      kept->data(), {image.height, image.width, image.channels}, [kept](void*) {}, at::kByte);
}

// uint8 [h, w, c] -> [size, c].
at::Tensor resized(const at::Tensor& pixels, ImageSize size) {
  if (pixels.size(0) == size.first && pixels.size(1) == size.second) return pixels;
  const at::Tensor planes = pixels.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);
  const at::Tensor scaled = at::_upsample_bilinear2d_aa(planes, {size.first, size.second}, false);
  return scaled.round_().clamp_(0, 255).to(at::kByte).squeeze(0).permute({1, 2, 0}).contiguous();
}

// Files by class, in order; every image lies in a folder of its own class.
std::map<std::string, std::vector<std::string>> files_by_class(const std::vector<std::string>& paths,
                                                               const std::string& name) {
  std::map<std::string, std::vector<std::string>> classes;
  for (const auto& path : paths) {
    const auto slash = path.find('/');
    if (slash == std::string::npos || path.find('/', slash + 1) != std::string::npos)
      throw_bad("data." + name, path + " does not lie in the folder of a class",
                "Images lie as CLASS/FILE.jpg in the folder that is handed in.");
    classes[path.substr(0, slash)].push_back(path);
  }
  return classes;
}

class ImageFolder {
 public:
  ImageFolder(const FileTree& files, const std::vector<std::string>& images, const std::string& name,
              std::optional<ImageSize> size)
      : files_(files), name_(name), size_(size) {
    for (const auto& [label, paths] : files_by_class(images, name)) {
      for (const auto& path : paths) {
        paths_.push_back(path);
        labels_.push_back(static_cast<std::int64_t>(classes_.size()));
      }
      classes_.push_back(label);
    }
  }

  LabelledData read() {
    const at::Tensor first = decode(paths_.front());
    if (!size_) size_ = ImageSize{first.size(0), first.size(1)}, sizes_must_be_equal_ = true;
    const auto count = static_cast<std::int64_t>(paths_.size());
    const std::int64_t each = size_->first * size_->second * 3;
    check_bytes(static_cast<double>(count), static_cast<double>(each), name_);
    at::Tensor inputs = at::empty({count, size_->first, size_->second, 3}, at::kByte);
    std::vector<char> coloured(paths_.size());
    at::parallel_for(0, count, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const at::Tensor pixels = read_one(paths_[static_cast<std::size_t>(i)]);
        coloured[static_cast<std::size_t>(i)] = pixels.size(2) == 3;
        inputs[i].copy_(pixels);  // grey goes to all three
      }
    });
    const bool grey = std::none_of(coloured.begin(), coloured.end(), [](char c) { return c; });
    return {grey ? inputs.narrow(3, 0, 1).contiguous() : inputs, at::tensor(labels_, at::kLong), classes_};
  }

 private:
  at::Tensor decode(const std::string& path) const { return pixels_of(decode_image(files_.open(path))); }

  at::Tensor read_one(const std::string& path) const {
    const at::Tensor pixels = decode(path);
    if (sizes_must_be_equal_ && (pixels.size(0) != size_->first || pixels.size(1) != size_->second))
      throw_bad(path,
                "the image is of " + std::to_string(pixels.size(0)) + " x " + std::to_string(pixels.size(1)) +
                    ", the first one of " + std::to_string(size_->first) + " x " +
                    std::to_string(size_->second),
                "The network takes any size: resize the images to one.");
    return resized(pixels, *size_);
  }

  const FileTree& files_;
  const std::string& name_;
  std::optional<ImageSize> size_;
  bool sizes_must_be_equal_ = false;
  std::vector<std::string> paths_, classes_;
  std::vector<std::int64_t> labels_;
};

// Bytes that look like images as [n, h, w, c]; all else as it is.
at::Tensor as_images(const at::Tensor& inputs, std::optional<ImageSize> size, const std::string& name) {
  if (inputs.scalar_type() != at::kByte) return inputs;
  at::Tensor images = inputs;
  if (images.dim() == 3) images = images.unsqueeze(3);
  if (images.dim() != 4) return inputs;
  const auto colours = [&](std::int64_t axis) { return images.size(axis) == 1 || images.size(axis) == 3; };
  if (!colours(3) && colours(1)) images = images.permute({0, 2, 3, 1}).contiguous();
  if (!size || (images.size(1) == size->first && images.size(2) == size->second)) return images;
  check_bytes(static_cast<double>(images.size(0) * images.size(3)),
              static_cast<double>(size->first) * static_cast<double>(size->second), name);
  at::Tensor scaled = at::empty({images.size(0), size->first, size->second, images.size(3)}, at::kByte);
  for (std::int64_t i = 0; i < images.size(0); ++i) scaled[i].copy_(resized(images[i], *size));
  return scaled;
}

// Checks labels [n] or [n, 1] against the inputs [n, ...].
LabelledData labelled(const at::Tensor& inputs, at::Tensor labels, const std::string& name,
                      const std::string& place, std::optional<ImageSize> size) {
  if (labels.dim() == 2 && labels.size(1) == 1) labels = labels.squeeze(1);
  if (!at::isIntegralType(labels.scalar_type(), false) || labels.dim() != 1)
    throw_bad(place, "the labels are no list of whole numbers");
  if (inputs.dim() < 2 || inputs.size(0) != labels.size(0) || labels.size(0) == 0)
    throw_bad(place, "there are " + std::to_string(labels.size(0)) + " labels and " +
                         std::to_string(inputs.dim() > 0 ? inputs.size(0) : 0) + " examples");
  labels = labels.to(at::kLong);
  if (const at::Tensor negative = at::nonzero(labels < 0); negative.numel() > 0)
    throw Error(ErrorCode::kInvalidArgument, "BAD_LABEL",
                "example " + std::to_string(negative[0][0].item<std::int64_t>()) + " has the label " +
                    std::to_string(labels[negative[0][0]].item<std::int64_t>()) + ", which is below 0",
                place);
  const bool bytes = inputs.scalar_type() == at::kByte;
  const at::Tensor values = bytes ? inputs : inputs.to(at::kFloat);
  if (!bytes && !at::isfinite(values).all().item<bool>())
    throw Error(ErrorCode::kInvalidArgument, "NOT_FINITE", "the examples hold NaN or infinity", place);
  return {as_images(values, size, name), labels, {}};
}

using Arrays = std::map<std::string, std::function<at::Tensor()>>;

at::Tensor array_named(const Arrays& arrays, std::span<const std::string_view> names, const std::string& data,
                       const std::string& place) {
  for (const auto& suffix : {"_" + data, std::string()})
    for (const auto name : names)
      if (const auto it = arrays.find(std::string(name) + suffix); it != arrays.end()) return it->second();
  std::vector<std::string> have;
  for (const auto& [name, read] : arrays) have.push_back(name);
  throw_bad(place, "holds no array '" + std::string(names.front()) + "'; it holds: " + join(have, ", "));
}

LabelledData of_arrays(const Arrays& arrays, const std::string& name, const std::string& place,
                       std::optional<ImageSize> size) {
  const at::Tensor inputs = array_named(arrays, kInputNames, name, place);
  return labelled(inputs, array_named(arrays, kLabelNames, name, place), name, place, size);
}

LabelledData of_npz(const FileView& file, const std::string& name, std::optional<ImageSize> size) {
  const NpzReader reader(file);
  Arrays arrays;
  for (const auto& array : reader.names())
    arrays[lower(array)] = [&, array] {
      check_bytes(1, static_cast<double>(reader.bytes(array)), name);
      return tensor_of(reader.read(array));
    };
  return of_arrays(arrays, name, file.name(), size);
}

LabelledData of_safetensors(const FileTree& files, const std::string& name, std::optional<ImageSize> size) {
  const SafetensorsReader reader(files);
  Arrays arrays;
  for (const auto& tensor : reader.names())
    arrays[lower(tensor)] = [&reader, tensor] { return read_tensor(reader, tensor).clone(); };
  return of_arrays(arrays, name, files.origin(), size);
}

// Whether the file of a pair is for data of that name, as MNIST's files are named.
bool is_for(const std::string& path, const std::string& name) {
  const auto has = [&](const std::string& word) { return lower(path).find(word) != std::string::npos; };
  return has(lower(name)) || (name == "test" && has("t10k"));
}

LabelledData of_idx(const FileTree& files, std::vector<std::string> paths, const std::string& name,
                    std::optional<ImageSize> size) {
  if (paths.size() > 2) std::erase_if(paths, [&](const std::string& path) { return !is_for(path, name); });
  if (paths.size() != 2)
    throw_bad("data." + name,
              std::to_string(paths.size()) + " idx files for '" + name + "' in " + files.origin(),
              "Hand in a folder of two: one of images, one of labels.");
  FileTensor inputs = read_idx(files.open(paths[0]), most_bytes()),
             labels = read_idx(files.open(paths[1]), most_bytes());
  if (inputs.shape.size() < labels.shape.size()) std::swap(inputs, labels);
  return labelled(tensor_of(inputs), tensor_of(labels), name, inputs.name, size);
}

}  // namespace

LabelledData read_labelled(const FileTree& files, const std::string& name, std::optional<ImageSize> size) {
  std::vector<std::string> images, arrays, tensors, idx;
  for (const auto& path : files.paths()) {
    if (is_image(path)) images.push_back(path);
    if (ends_in(path, {".npz"})) arrays.push_back(path);
    if (ends_in(path, {".safetensors"})) tensors.push_back(path);
    if (is_idx(path)) idx.push_back(path);
  }
  if (!images.empty()) return ImageFolder(files, images, name, size).read();
  if (arrays.size() == 1) return of_npz(files.open(arrays.front()), name, size);
  if (!tensors.empty()) return of_safetensors(files, name, size);
  if (!idx.empty()) return of_idx(files, idx, name, size);
  throw_bad(
      "data." + name, files.origin() + " holds no labelled examples",
      "Hand in a folder of CLASS/FILE.jpg (or .png), an .npz or .safetensors file with images and labels, "
      "or a pair of idx files.");
}

}  // namespace wring
