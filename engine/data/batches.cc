// Pixels stay bytes until their batch comes.
#include "engine/data/batches.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace wring {
namespace {

// uint8 [n, h, w, c], each cut out of itself with a black border.
at::Tensor shifted(const at::Tensor& images, std::int64_t most, Random& random) {
  const at::Tensor bordered = at::constant_pad_nd(images, {0, 0, most, most, most, most});
  at::Tensor moved = at::empty_like(images);
  for (std::int64_t i = 0; i < images.size(0); ++i) {
    const std::int64_t down = random.between(0, 2 * most), right = random.between(0, 2 * most);
    moved[i].copy_(bordered[i].narrow(0, down, images.size(1)).narrow(1, right, images.size(2)));
  }
  return moved;
}

at::Tensor mirrored(const at::Tensor& images, Random& random) {
  at::Tensor turned = images.clone();
  for (std::int64_t i = 0; i < images.size(0); ++i)
    if (random.chance(0.5)) turned[i].copy_(images[i].flip({1}));
  return turned;
}

std::int64_t product(const std::vector<std::int64_t>& sizes) {
  std::int64_t count = 1;
  for (const auto size : sizes) count *= size;
  return count;
}

std::string text_of(at::IntArrayRef sizes) {
  std::string text;
  for (const auto size : sizes) text += (text.empty() ? "" : ", ") + (size < 0 ? "?" : std::to_string(size));
  return "[" + text + "]";
}

// The same numbers in more or fewer axes: an image as one row.
bool is_laid_out_otherwise(const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& given) {
  return sizes.size() != given.size() && product(sizes) == product(given) &&
         std::all_of(sizes.begin(), sizes.end(), [](auto size) { return size >= 0; });
}

bool fits(const std::vector<std::int64_t>& sizes, at::IntArrayRef given) {
  if (sizes.size() != given.size()) return false;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    if (sizes[i] >= 0 && sizes[i] != given[i]) return false;
  return true;
}

}  // namespace

Normalisation Normalisation::from(const Params& params) {
  return {params.get<std::vector<double>>("mean"), params.get<std::vector<double>>("std"),
          params.field("mean")};
}

Augmentation Augmentation::from(const Params& params) {
  return {params.get<std::int64_t>("shift"), params.get<bool>("mirror")};
}

Batches::Batches(LabelledData data, Normalisation normalisation, std::vector<std::int64_t> sizes,
                 const std::string& name)
    : data_(std::move(data)), normalisation_(std::move(normalisation)), sizes_(std::move(sizes)) {
  check(name);
  check_channels();
}

void Batches::check_channels() const {
  const std::int64_t channels = data_.are_images() ? data_.inputs.size(3) : 1;
  for (const auto* numbers : {&normalisation_.mean, &normalisation_.deviation})
    if (numbers->size() != 1 && static_cast<std::int64_t>(numbers->size()) != channels)
      throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH",
                  std::to_string(numbers->size()) + " numbers for examples of " + std::to_string(channels) +
                      (channels == 1 ? " channel" : " channels"),
                  normalisation_.field, "Give mean and std one number, or one a channel.");
}

void Batches::check(const std::string& name) {
  std::vector<std::int64_t> given = data_.inputs.sizes().slice(1).vec();
  if (data_.are_images() && sizes_.size() == 3) {
    if (given[2] == 1 && (sizes_[0] == 3 || sizes_[2] == 3)) {  // grey for a network of colours
      data_.inputs = data_.inputs.expand({-1, -1, -1, 3});
      given[2] = 3;
    }
    const std::vector<std::int64_t> first{given[2], given[0], given[1]};
    channels_last_ = !fits(sizes_, first) && fits(sizes_, given);
    if (channels_last_ || fits(sizes_, first)) return;
    given = first;
  } else if (fits(sizes_, given) || is_laid_out_otherwise(sizes_, given)) {
    return;
  }
  throw Error(ErrorCode::kInvalidArgument, "SHAPE_MISMATCH",
              "an example is " + text_of(given) + ", the network takes " + text_of(sizes_), name,
              "Hand in examples of the network's size.");
}

std::int64_t Batches::highest_label() const {
  return data_.labels.max().item<std::int64_t>();
}

at::Tensor Batches::laid_out(const at::Tensor& values) const {
  at::Tensor inputs = values.to(at::kFloat);
  if (values.scalar_type() == at::kByte) inputs.div_(255);
  // Of images channels are innermost.
  const auto constants = [](const std::vector<double>& numbers) { return at::tensor(numbers, at::kFloat); };
  inputs = inputs.sub(constants(normalisation_.mean)).div_(constants(normalisation_.deviation));
  if (data_.are_images() && !channels_last_) inputs = inputs.permute({0, 3, 1, 2});
  inputs = inputs.contiguous();
  std::vector<std::int64_t> shape{inputs.size(0)};
  shape.insert(shape.end(), sizes_.begin(), sizes_.end());
  return static_cast<std::int64_t>(shape.size()) == inputs.dim() ? inputs : inputs.reshape(shape);
}

at::Tensor Batches::inputs(const at::Tensor& examples) const {
  return laid_out(data_.inputs.index_select(0, examples));
}

at::Tensor Batches::varied_inputs(const at::Tensor& examples, const Augmentation& augmentation,
                                  Random random) const {
  if (!data_.are_images() && (augmentation.shift > 0 || augmentation.mirror))
    throw Error(ErrorCode::kInvalidArgument, "NOT_IMAGES",
                "the examples are arrays of numbers, and no images",
                augmentation.shift > 0 ? "shift" : "mirror", "Leave it out, or hand in images or bytes.");
  at::Tensor values = data_.inputs.index_select(0, examples);
  if (data_.are_images() && augmentation.shift > 0) values = shifted(values, augmentation.shift, random);
  if (data_.are_images() && augmentation.mirror) values = mirrored(values, random);
  return laid_out(values);
}

}  // namespace wring
