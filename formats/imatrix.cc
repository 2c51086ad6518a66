// Importance matrices: the old binary form, the GGUF form, and the means that quantisers take.
#include "formats/imatrix.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "formats/file_cursor.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"

namespace wring {
namespace {

constexpr const char* kReason = "BAD_IMATRIX";
constexpr std::int32_t kMaxName = 1024, kMaxDataset = 65536;
constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";
constexpr std::uint64_t kLeastEntry = 4 + 1 + 4 + 4 + 4;  // a name of one byte, and one value

[[noreturn]] void throw_bad(const FileView& file, const std::string& entry, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, kReason, file.name() + ": " + why, entry);
}

// Sums of squares and counts are finite and not negative, and the counts divide the sums evenly.
void check_entry(const FileView& file, const std::string& name, const ImatrixEntry& entry) {
  for (const auto* values : {&entry.sums, &entry.counts})
    for (const float value : *values)
      if (!(value >= 0) || std::isinf(value))
        throw_bad(file, name, "a value that is negative or not finite: " + std::to_string(value));
  if (entry.counts.empty() || entry.sums.size() % entry.counts.size() != 0)
    throw_bad(file, name,
              std::to_string(entry.counts.size()) + " counts do not divide " +
                  std::to_string(entry.sums.size()) + " sums");
}

std::vector<float> floats_of(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::pair<std::string, ImatrixEntry> take_entry(FileCursor& cursor, const std::string& place) {
  const auto length = cursor.take<std::int32_t>(place);
  if (length < 1 || length > kMaxName)
    cursor.refuse(place, "a name of " + std::to_string(length) + " bytes; 1 to 1024 are allowed");
  const std::string name = cursor.take_text(static_cast<std::uint64_t>(length), place);
  const auto calls = cursor.take<std::int32_t>(name), count = cursor.take<std::int32_t>(name);
  if (count < 1) cursor.refuse(name, "claims " + std::to_string(count) + " values");
  ImatrixEntry entry;
  entry.sums = floats_of(cursor.take_bytes(4 * static_cast<std::uint64_t>(count), name));
  entry.counts = {calls > 0 ? static_cast<float>(calls) : 1.0f};
  check_entry(cursor.file(), name, entry);
  return {name, std::move(entry)};
}

Imatrix read_binary(const FileView& file) {
  FileCursor cursor(file, kReason);
  const auto count = cursor.take<std::int32_t>("entry count");
  if (count < 1 || static_cast<std::uint64_t>(count) > cursor.left() / kLeastEntry)
    cursor.refuse("entry count", std::to_string(count) + " entries: this is no imatrix, or it is cut short");
  Imatrix imatrix;
  for (std::int32_t i = 0; i < count; ++i) {
    auto entry = take_entry(cursor, "entry " + std::to_string(i));
    const std::string name = entry.first;
    if (!imatrix.entries.insert(std::move(entry)).second) cursor.refuse(name, "the entry stands twice");
  }
  if (cursor.left() == 0) return imatrix;  // older files end here
  imatrix.chunk_count = cursor.take<std::uint32_t>("chunk count");
  const auto length = cursor.take<std::int32_t>("dataset");
  if (length < 0 || length > kMaxDataset)
    cursor.refuse("dataset", "a name of " + std::to_string(length) + " bytes");
  if (length > 0) imatrix.datasets = {cursor.take_text(static_cast<std::uint64_t>(length), "dataset")};
  return imatrix;
}

std::vector<float> tensor_floats(const FileView& view, const GgufFile& file, const GgufTensor& tensor) {
  if (tensor.type != GgmlType::kF32) throw_bad(view, tensor.name, "its type is not F32");
  return floats_of(file.raw(tensor).data);
}

std::uint32_t chunks(const GgufFile& file, const std::string& key) {
  const std::int64_t value = file.has_key(key) ? file.integer(key) : 0;
  return value < 0 || value > UINT32_MAX ? 0 : static_cast<std::uint32_t>(value);
}

Imatrix read_gguf(const FileView& view) {
  const GgufFile file(view);
  Imatrix imatrix;
  for (const auto& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    if (name.empty()) throw_bad(view, tensor.name, "names no weight");
    if (!file.has_tensor(name + std::string(kCounts))) throw_bad(view, name, "has sums but no counts");
    ImatrixEntry entry{tensor_floats(view, file, tensor),
                       tensor_floats(view, file, file.tensor(name + std::string(kCounts)))};
    for (float& count : entry.counts) count = std::round(count);
    check_entry(view, name, entry);
    imatrix.entries.emplace(name, std::move(entry));
  }
  if (imatrix.entries.empty())
    throw_bad(view, "tensors", "none ends in .in_sum2: this GGUF file is no imatrix");
  if (file.has_key("imatrix.datasets")) imatrix.datasets = file.strings("imatrix.datasets");
  imatrix.chunk_count = chunks(file, "imatrix.chunk_count");
  imatrix.chunk_size = chunks(file, "imatrix.chunk_size");
  return imatrix;
}

// Of one expert the dimension of experts is left out, as ggml does it.
GgufTensorToWrite tensor_of(const std::string& name, const std::vector<float>& values, std::size_t experts) {
  std::vector<std::int64_t> shape{static_cast<std::int64_t>(values.size() / experts)};
  if (experts > 1) shape.insert(shape.begin(), static_cast<std::int64_t>(experts));
  return {name, GgmlType::kF32, std::move(shape),
          [&values](const ByteSink& sink) { sink(std::as_bytes(std::span(values))); }};
}

}  // namespace

std::vector<float> Imatrix::importance(const std::string& weight, std::uint64_t columns,
                                       std::uint64_t experts) const {
  const auto it = entries.find(weight);
  if (it == entries.end()) return {};
  const auto& [sums, counts] = it->second;
  if (sums.size() / experts != columns || sums.size() % experts != 0) {
    if (weight == "token_embd.weight" || weight == "per_layer_token_embd.weight") return {};
    throw Error(ErrorCode::kInvalidArgument, "IMATRIX_SHAPE",
                "the imatrix holds " + std::to_string(sums.size()) + " values, the tensor has " +
                    std::to_string(experts) + " x " + std::to_string(columns) + " columns",
                weight, "An imatrix belongs to one model: compute it from the very model to be quantised.");
  }
  std::vector<float> means(sums.size());
  const std::size_t share = sums.size() / counts.size();
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const float count = counts[i / share];
    means[i] = count > 0 ? sums[i] / count : 1.0f;
  }
  return means;
}

Imatrix read_imatrix(const FileView& file) {
  const bool gguf = file.size() >= 4 && file.read(0, 4).text() == "GGUF";
  return gguf ? read_gguf(file) : read_binary(file);
}

void write_imatrix(const std::filesystem::path& path, const Imatrix& imatrix, Durability durability) {
  const std::vector<GgufKeyToWrite> keys{{"general.type", std::string("imatrix")},
                                         {"imatrix.datasets", imatrix.datasets},
                                         {"imatrix.chunk_count", imatrix.chunk_count},
                                         {"imatrix.chunk_size", imatrix.chunk_size}};
  std::vector<GgufTensorToWrite> tensors;
  for (const auto& [name, entry] : imatrix.entries) {
    if (entry.counts.empty() || entry.sums.empty() || entry.sums.size() % entry.counts.size() != 0)
      throw Error(ErrorCode::kInternal, "IMATRIX_SHAPE", "an entry whose counts do not divide its sums",
                  name);
    tensors.push_back(tensor_of(name + std::string(kSums), entry.sums, entry.counts.size()));
    tensors.push_back(tensor_of(name + std::string(kCounts), entry.counts, entry.counts.size()));
  }
  write_gguf(path, keys, tensors, durability);
}

}  // namespace wring
