// safetensors: headers checked against the file before they are believed; files written whole or not at all.
#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/json.h"
#include "formats/file_cursor.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::size_t kMaxDimensions = 16;

struct TypeName {
  ElementType type;
  std::string_view name;
  std::uint64_t size;
};
constexpr std::array<TypeName, 11> kTypes{{{ElementType::kF64, "F64", 8},
                                           {ElementType::kF32, "F32", 4},
                                           {ElementType::kF16, "F16", 2},
                                           {ElementType::kBF16, "BF16", 2},
                                           {ElementType::kI64, "I64", 8},
                                           {ElementType::kI32, "I32", 4},
                                           {ElementType::kI16, "I16", 2},
                                           {ElementType::kI8, "I8", 1},
                                           {ElementType::kU8, "U8", 1},
                                           {ElementType::kBool, "BOOL", 1},
                                           {ElementType::kF8E4M3, "F8_E4M3", 1}}};

const TypeName& type_name(ElementType type) {
  return *std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.type == type; });
}

[[noreturn]] void throw_bad(const FileView& file, const std::string& tensor, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_SAFETENSORS", file.name() + ": " + why, tensor, kDamaged);
}

// The header as JSON; keys that stand twice at the top are refused (JSON itself would keep the last).
Json parse_header(const FileView& file, std::string_view text) {
  std::set<std::string> keys;
  std::string twice;
  bool deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > 8) deep = true;
    if (event == Json::parse_event_t::key && depth == 1 && !keys.insert(value.get<std::string>()).second)
      twice = value;
    return !deep;
  };
  Json json;
  try {
    json = Json::parse(text, watch);
  } catch (const Json::exception& e) {
    throw_bad(file, "", std::string("the header is not JSON: ") + e.what());
  }
  if (deep) throw_bad(file, "", "the header nests too deep");
  if (!twice.empty()) throw_bad(file, twice, "the tensor stands twice in the header");
  if (!json.is_object()) throw_bad(file, "", "the header is no object");
  return json;
}

SafetensorsEntry parse_entry(const FileView& file, const std::string& name, const Json& json,
                             std::uint64_t data_start) {
  SafetensorsEntry entry;
  entry.name = name;
  const auto dtype = json_at<std::string>(json, "dtype", name);
  const auto type =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.name == dtype; });
  if (type == kTypes.end()) throw_bad(file, name, "element type '" + dtype.substr(0, 20) + "' is not known");
  entry.type = type->type;
  const Json shape = json_at<Json>(json, "shape", name), offsets = json_at<Json>(json, "data_offsets", name);
  if (!shape.is_array() || shape.size() > kMaxDimensions)
    throw_bad(file, name, "the shape is no list of at most 16 dimensions");
  std::uint64_t bytes = type->size;
  for (const auto& dimension : shape) {
    if (!dimension.is_number_unsigned()) throw_bad(file, name, "a dimension that is no whole number from 0");
    const auto value = dimension.get<std::uint64_t>();
    if (value > INT64_MAX || __builtin_mul_overflow(bytes, value, &bytes))
      throw_bad(file, name, "the shape overflows");
    entry.shape.push_back(static_cast<std::int64_t>(value));
  }
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned())
    throw_bad(file, name, "data_offsets are not two whole numbers");
  const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
  if (begin > end || end > file.size() - data_start) throw_bad(file, name, "its data lie outside the file");
  if (end - begin != bytes)
    throw_bad(file, name,
              "its shape needs " + std::to_string(bytes) + " bytes, its offsets hold " +
                  std::to_string(end - begin));
  entry.offset = data_start + begin;
  entry.bytes = bytes;
  return entry;
}

void check_cover(const FileView& file, const SafetensorsHeader& header, std::uint64_t data_start) {
  std::uint64_t at = data_start;
  for (const auto& entry : header.entries) {
    if (entry.offset < at) throw_bad(file, entry.name, "its data overlap those of another tensor");
    if (entry.offset > at) throw_bad(file, entry.name, "there is a hole before its data");
    at += entry.bytes;
  }
  if (at != file.size())
    throw_bad(file, "", "there are " + std::to_string(file.size() - at) + " bytes behind the last tensor");
}

}  // namespace

std::uint64_t element_size(ElementType type) {
  return type_name(type).size;
}
std::string_view safetensors_name(ElementType type) {
  return type_name(type).name;
}

SafetensorsHeader read_safetensors_header(const FileView& file) {
  if (file.size() < 8) throw_bad(file, "", "shorter than its 8-byte length field");
  std::uint64_t length = 0;
  std::memcpy(&length, file.read(0, 8).data.data(), 8);
  if (length > kMaxHeader)
    throw_bad(file, "", "the header claims " + std::to_string(length) + " bytes, at most 100 MB are allowed");
  if (length > file.size() - 8)
    throw_bad(file, "",
              "the header claims " + std::to_string(length) + " bytes, the file has " +
                  std::to_string(file.size() - 8));
  const Bytes text = file.read(8, length);
  if (!text.text().starts_with('{')) throw_bad(file, "", "the header does not begin with '{'");
  const Json json = parse_header(file, text.text());
  SafetensorsHeader header;
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      header.entries.push_back(parse_entry(file, name, value, 8 + length));
      continue;
    }
    if (!value.is_object()) throw_bad(file, name, "is no object");
    for (const auto& [key, text_value] : value.items()) {
      if (!text_value.is_string()) throw_bad(file, name, "holds a value that is no string");
      header.metadata[key] = text_value;
    }
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  });
  check_cover(file, header, 8 + length);
  return header;
}

SafetensorsReader::SafetensorsReader(const FileTree& tree) {
  std::vector<std::string> paths;
  if (tree.has("model.safetensors")) {
    paths = {"model.safetensors"};
  } else if (tree.has("model.safetensors.index.json")) {
    const Json index = parse_json(tree.open("model.safetensors.index.json").read_all().text(),
                                  "model.safetensors.index.json");
    std::set<std::string> shards;
    for (const auto& [name, shard] :
         json_at<std::map<std::string, std::string>>(index, "weight_map", "model.safetensors.index.json"))
      shards.insert(shard);
    paths.assign(shards.begin(), shards.end());
  } else {
    paths = tree.paths();
    std::erase_if(paths, [](const std::string& path) { return !path.ends_with(".safetensors"); });
  }
  if (paths.empty())
    throw Error(ErrorCode::kNotFound, "NO_WEIGHTS", tree.origin() + " holds no *.safetensors file", "model");
  for (const auto& path : paths) {
    files_.push_back(tree.open(path));
    const auto header = read_safetensors_header(files_.back());
    metadata_.insert(header.metadata.begin(), header.metadata.end());
    for (const auto& entry : header.entries)
      if (!places_.emplace(entry.name, Place{files_.size() - 1, entry}).second)
        throw_bad(files_.back(), entry.name, "the tensor stands in two files");
  }
}

std::vector<std::string> SafetensorsReader::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

bool SafetensorsReader::has(const std::string& name) const {
  return places_.contains(name);
}

const SafetensorsEntry& SafetensorsReader::entry(const std::string& name) const {
  const auto it = places_.find(name);
  if (it == places_.end())
    throw Error(ErrorCode::kNotFound, "NO_SUCH_TENSOR", "the model's files hold no such tensor", name);
  return it->second.entry;
}

FileTensor SafetensorsReader::tensor(const std::string& name) const {
  const auto& found = entry(name);
  return {name, found.type, found.shape, files_[places_.at(name).file].read(found.offset, found.bytes)};
}

namespace {

std::uint64_t tensor_bytes(const TensorToWrite& tensor) {
  std::uint64_t bytes = element_size(tensor.type);
  for (const auto dimension : tensor.shape) bytes *= static_cast<std::uint64_t>(dimension);
  return bytes;
}

std::string make_header(std::span<const TensorToWrite> tensors,
                        const std::map<std::string, std::string>& metadata) {
  Json header{{"__metadata__", metadata}};
  std::uint64_t at = 0;
  for (const auto& tensor : tensors) {
    const auto bytes = tensor_bytes(tensor);
    header[tensor.name] = {{"dtype", safetensors_name(tensor.type)},
                           {"shape", tensor.shape},
                           {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  std::string text = header.dump();
  text.append((64 - (text.size() + 8) % 64) % 64, ' ');
  return text;
}

void write_one(const fs::path& path, std::span<const TensorToWrite> tensors,
               const std::map<std::string, std::string>& metadata, Durability durability) {
  AtomicFile file(path);
  const std::string header = make_header(tensors, metadata);
  const std::uint64_t length = header.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const auto& tensor : tensors) {
    const Bytes bytes = tensor.data();
    if (bytes.data.size() != tensor_bytes(tensor))
      throw Error(ErrorCode::kInternal, "TENSOR_SIZE", "a tensor whose bytes do not match its shape",
                  tensor.name);
    file.write(bytes.data);
  }
  file.commit(durability);
}

// Tensors in order, cut before the one that would pass `limit`.
std::vector<std::span<const TensorToWrite>> shards(const std::vector<TensorToWrite>& tensors,
                                                   std::uint64_t limit) {
  std::vector<std::span<const TensorToWrite>> cut;
  std::size_t begin = 0;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto next = tensor_bytes(tensors[i]);
    if (i > begin && bytes + next > limit) {
      cut.push_back(std::span(tensors).subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += next;
  }
  cut.push_back(std::span(tensors).subspan(begin));
  return cut;
}

}  // namespace

void write_safetensors(const fs::path& folder, const std::string& stem,
                       const std::vector<TensorToWrite>& tensors, std::map<std::string, std::string> metadata,
                       std::uint64_t shard_bytes, Durability durability) {
  metadata.emplace("format", "pt");
  const auto parts = shards(tensors, shard_bytes);
  if (parts.size() == 1) return write_one(folder / (stem + ".safetensors"), parts[0], metadata, durability);
  Json weight_map = Json::object();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    char suffix[64];
    std::snprintf(suffix, sizeof suffix, "-%05zu-of-%05zu.safetensors", i + 1, parts.size());
    write_one(folder / (stem + suffix), parts[i], metadata, durability);
    for (const auto& tensor : parts[i]) {
      weight_map[tensor.name] = stem + suffix;
      total += tensor_bytes(tensor);
    }
  }
  write_file_atomic(folder / (stem + ".safetensors.index.json"),
                    Json{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}}.dump(2) + "\n",
                    durability);
}

}  // namespace wring
