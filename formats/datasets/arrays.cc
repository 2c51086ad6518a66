// Zip's directory, NumPy's header, and idx: every size is compared with what is there before it is used.
#include "formats/datasets/arrays.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/error.h"
#include "formats/datasets/inflate.h"

namespace wring {
namespace {

[[noreturn]] void throw_bad(const char* reason, const FileView& file, const std::string& array,
                            const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, reason, file.name() + ": " + why, array);
}

[[noreturn]] void throw_unsupported(const FileView& file, const std::string& array, const std::string& what) {
  throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_NPZ", file.name() + ": " + what + " is not supported",
              array, "Write it with numpy.savez of little-endian arrays in C order.");
}

Bytes owned(std::vector<std::byte> bytes) {
  const auto kept = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  return {*kept, kept};
}

// Bytes that shape and type make, or nothing where that is beyond the bound or a size is negative.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& shape, std::uint64_t element) {
  std::uint64_t bytes = element;
  for (const auto size : shape) {
    if (size < 0) return std::nullopt;
    if (bytes > 0 && static_cast<std::uint64_t>(size) > kMostArrayBytes / bytes) return std::nullopt;
    bytes *= static_cast<std::uint64_t>(size);
  }
  return bytes;
}

// Little-endian, unaligned.
template <typename T>
T number_at(std::string_view text, std::size_t at) {
  T value;
  std::memcpy(&value, text.data() + at, sizeof value);
  return value;
}

constexpr std::size_t kZipEnd = 22, kZipEntry = 46, kZipHeader = 30;
constexpr std::uint32_t kZip64 = 0xffffffff;

// What stands behind 'KEY': in the header's dictionary.
std::string_view header_value(std::string_view header, std::string_view key) {
  const auto at = header.find("'" + std::string(key) + "':");
  if (at == std::string_view::npos) return {};
  header.remove_prefix(at + key.size() + 3);
  header.remove_prefix(std::min(header.find_first_not_of(' '), header.size()));
  return header;
}

std::optional<ElementType> npy_type(std::string_view descr) {
  static const std::map<std::string_view, ElementType> kTypes{
      {"|u1", ElementType::kU8},  {"|i1", ElementType::kI8},  {"|b1", ElementType::kBool},
      {"<i2", ElementType::kI16}, {"<i4", ElementType::kI32}, {"<i8", ElementType::kI64},
      {"<f2", ElementType::kF16}, {"<f4", ElementType::kF32}, {"<f8", ElementType::kF64}};
  const auto it = kTypes.find(descr);
  return it == kTypes.end() ? std::nullopt : std::optional(it->second);
}

std::optional<std::vector<std::int64_t>> npy_shape(std::string_view text) {
  const auto close = text.find(')');
  if (!text.starts_with("(") || close == std::string_view::npos) return std::nullopt;
  std::vector<std::int64_t> shape;
  const char *at = text.data() + 1, *end = text.data() + close;
  while (at < end) {
    if (*at == ' ' || *at == ',') {
      ++at;
      continue;
    }
    const auto [next, error] = std::from_chars(at, end, shape.emplace_back());
    if (error != std::errc() || shape.size() > 16) return std::nullopt;
    at = next;
  }
  return shape;
}

FileTensor parse_npy(const FileView& file, const std::string& name, const Bytes& bytes) {
  const auto bad = [&](const char* why) { throw_bad("BAD_NPZ", file, name, why); };
  const std::string_view text = bytes.text();
  if (text.size() < 12 || !text.starts_with("\x93NUMPY")) bad("is no .npy array");
  const bool first = text[6] == 1;
  const std::size_t begin = first ? 10 : 12;
  const std::size_t length = first ? number_at<std::uint16_t>(text, 8) : number_at<std::uint32_t>(text, 8);
  if (length > text.size() - begin) bad("its header ends too early");
  const std::string_view header = text.substr(begin, length);
  const std::string_view descr = header_value(header, "descr");
  if (descr.size() < 5 || descr[0] != '\'') bad("its header names no type");
  const auto type = npy_type(descr.substr(1, 3));
  if (!type || descr[4] != '\'')
    throw_unsupported(file, name, "type " + std::string(descr.substr(0, descr.find(','))));
  if (header_value(header, "fortran_order").starts_with("True"))
    throw_unsupported(file, name, "Fortran order");
  const auto shape = npy_shape(header_value(header, "shape"));
  if (!shape) bad("its header has no shape");
  const auto size = bytes_of(*shape, element_size(*type));
  if (!size || *size != text.size() - begin - length) bad("its shape does not fit its bytes");
  return {name, *type, *shape, {bytes.data.subspan(begin + length), bytes.owner}};
}

}  // namespace

NpzReader::NpzReader(FileView file) : file_(std::move(file)), entries_(directory(file_)) {}

// The directory at the end of the archive.
std::vector<NpzReader::Entry> NpzReader::directory(const FileView& file) {
  const auto bad = [&](const char* why) { throw_bad("BAD_NPZ", file, "", why); };
  if (file.size() < kZipEnd) bad("no zip archive");
  const std::uint64_t tail_at = file.size() - std::min<std::uint64_t>(file.size(), kZipEnd + 65535);
  const Bytes tail = file.read(tail_at, file.size() - tail_at);
  const auto end = tail.text().rfind("PK\x05\x06");
  if (end == std::string_view::npos || tail.data.size() - end < kZipEnd) bad("no zip archive");
  const auto count = number_at<std::uint16_t>(tail.text(), end + 10);
  const auto size = number_at<std::uint32_t>(tail.text(), end + 12);
  const auto at = number_at<std::uint32_t>(tail.text(), end + 16);
  if (at == kZip64 || count == 0xffff) throw_unsupported(file, "", "ZIP64");
  if (at > file.size() || size > file.size() - at) bad("the zip directory lies outside the file");
  const Bytes bytes = file.read(at, size);
  std::string_view left = bytes.text();
  std::vector<Entry> entries;
  for (int i = 0; i < count; ++i) {
    if (left.size() < kZipEntry || !left.starts_with("PK\x01\x02")) bad("the zip directory ends too early");
    const std::size_t name = number_at<std::uint16_t>(left, 28);
    const std::size_t whole =
        kZipEntry + name + number_at<std::uint16_t>(left, 30) + number_at<std::uint16_t>(left, 32);
    if (left.size() < whole) bad("the zip directory ends too early");
    std::string array(left.substr(kZipEntry, name));
    if (array.ends_with(".npy")) array.resize(array.size() - 4);
    entries.push_back({std::move(array), number_at<std::uint16_t>(left, 10),
                       number_at<std::uint32_t>(left, 16), number_at<std::uint32_t>(left, 20),
                       number_at<std::uint32_t>(left, 24), number_at<std::uint32_t>(left, 42)});
    left.remove_prefix(whole);
  }
  return entries;
}

std::vector<std::string> NpzReader::names() const {
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry.name);
  return names;
}

const NpzReader::Entry& NpzReader::entry(const std::string& name) const {
  const auto it =
      std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry.name == name; });
  if (it == entries_.end()) throw_bad("BAD_NPZ", file_, name, "holds no such array");
  return *it;
}

std::uint64_t NpzReader::bytes(const std::string& name) const {
  return entry(name).size;
}

FileTensor NpzReader::read(const std::string& name) const {
  return parse_npy(file_, name, unpack(entry(name)));
}

Bytes NpzReader::unpack(const Entry& entry) const {
  if (entry.packed == kZip64 || entry.size == kZip64 || entry.header == kZip64)
    throw_unsupported(file_, entry.name, "ZIP64");
  const auto bad = [&](const char* why) { throw_bad("BAD_NPZ", file_, entry.name, why); };
  if (entry.header > file_.size() || file_.size() - entry.header < kZipHeader) bad("lies outside the file");
  const auto check = [&](std::span<const std::byte> bytes) {
    if (crc32_of(bytes) != entry.checksum) bad("is damaged: its checksum is another one");
  };
  const Bytes header = file_.read(entry.header, kZipHeader);
  if (!header.text().starts_with("PK\x03\x04")) bad("has no zip header");
  const std::uint64_t begin = entry.header + kZipHeader + number_at<std::uint16_t>(header.text(), 26) +
                              number_at<std::uint16_t>(header.text(), 28);
  if (begin > file_.size() || entry.packed > file_.size() - begin) bad("lies outside the file");
  const Bytes packed = file_.read(begin, entry.packed);
  if (entry.method == 0) {
    if (entry.packed != entry.size) bad("is stored, but of two sizes");
    check(packed.data);
    return packed;
  }
  if (entry.method != 8) throw_unsupported(file_, entry.name, "zip method " + std::to_string(entry.method));
  auto bytes = inflate_bytes(packed.data, DeflateForm::kRaw, entry.size, file_.name() + ": " + entry.name);
  if (bytes.size() != entry.size) bad("inflates to another size than the directory says");
  check(bytes);
  return owned(std::move(bytes));
}

FileTensor read_idx(const FileView& file, std::uint64_t most) {
  const auto bad = [&](const char* why) { throw_bad("BAD_IDX", file, "", why); };
  Bytes bytes = file.read_all();
  if (bytes.text().starts_with("\x1f\x8b"))
    bytes = owned(inflate_bytes(bytes.data, DeflateForm::kGzip, most, file.name()));
  const auto byte = [&](std::size_t at) { return std::to_integer<std::uint32_t>(bytes.data[at]); };
  if (bytes.data.size() < 8 || byte(0) != 0 || byte(1) != 0) bad("no idx file");
  if (byte(2) != 8) bad("its elements are no bytes");
  const std::size_t rank = byte(3), begin = 4 + 4 * rank;
  if (rank == 0 || rank > 8 || bytes.data.size() < begin) bad("its header ends too early");
  FileTensor tensor{file.name(), ElementType::kU8, {}, {}};
  for (std::size_t i = 0; i < rank; ++i)
    tensor.shape.push_back(byte(4 + 4 * i) << 24 | byte(5 + 4 * i) << 16 | byte(6 + 4 * i) << 8 |
                           byte(7 + 4 * i));
  const auto size = bytes_of(tensor.shape, 1);
  if (!size || *size != bytes.data.size() - begin) bad("its sizes do not fit its bytes");
  tensor.data = {bytes.data.subspan(begin), bytes.owner};
  return tensor;
}

}  // namespace wring
