// zlib, a piece at a time: a size that the file claims is believed once so much has come out.
#include "formats/datasets/inflate.h"

#include <zlib.h>

#include <algorithm>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::size_t kPiece = 1u << 20, kMostInput = 1u << 30;

[[noreturn]] void throw_bad(const std::string& place, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_DEFLATE", why, place);
}

struct Stream {
  explicit Stream(DeflateForm form) {
    constexpr int kWindow = 15, kGzipToo = 16;
    if (inflateInit2(&z, form == DeflateForm::kGzip ? kWindow + kGzipToo : -kWindow) != Z_OK)
      throw Error(ErrorCode::kResourceExhausted, "OUT_OF_MEMORY", "zlib found no memory");
  }
  ~Stream() { inflateEnd(&z); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  z_stream z{};
};

}  // namespace

std::vector<std::byte> inflate_bytes(std::span<const std::byte> bytes, DeflateForm form, std::uint64_t most,
                                     const std::string& place) {
  Stream stream(form);
  std::vector<std::byte> out;
  std::size_t made = 0;
  for (int status = Z_OK; status != Z_STREAM_END;) {
    if (stream.z.avail_in == 0) {
      const std::size_t count = std::min(bytes.size(), kMostInput);
      if (count == 0) throw_bad(place, "the compressed data end too early");
      stream.z.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes.data()));
      stream.z.avail_in = static_cast<uInt>(count);
      bytes = bytes.subspan(count);
    }
    if (out.size() - made < kPiece) out.resize(std::max(out.size() + kPiece, out.size() + out.size() / 2));
    const std::size_t room = std::min<std::size_t>(out.size() - made, kMostInput);
    stream.z.next_out = reinterpret_cast<Bytef*>(out.data() + made);
    stream.z.avail_out = static_cast<uInt>(room);
    status = inflate(&stream.z, Z_NO_FLUSH);
    made += room - stream.z.avail_out;
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      throw_bad(place, stream.z.msg ? stream.z.msg : "the compressed data are damaged");
    if (made > most) throw_bad(place, "inflates to more than " + std::to_string(most) + " bytes");
  }
  out.resize(made);
  return out;
}

std::uint32_t crc32_of(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace wring
