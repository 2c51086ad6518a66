// Random ids from the operating system's generator.
#include "common/ids.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>

#include "common/clock.h"
#include "common/error.h"

namespace wring {
namespace {

template <typename Buffer>
void fill_random(Buffer& buffer) {
  if (getrandom(buffer.data(), buffer.size(), 0) != static_cast<ssize_t>(buffer.size()))
    throw Error(ErrorCode::kInternal, "RANDOM", "the operating system gave no random bytes");
}

}  // namespace

std::string random_id(int length) {
  constexpr char kAlphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";  // 32 letters: Crockford's base 32
  std::string id(static_cast<std::size_t>(length), '0');
  fill_random(id);
  for (char& c : id) c = kAlphabet[static_cast<std::uint8_t>(c) & 31];
  return id;
}

std::string random_uuid() {
  std::array<std::uint8_t, 16> b{};
  fill_random(b);
  const auto now = static_cast<std::uint64_t>(SystemClock().now_ms());
  for (int i = 0; i < 6; ++i) b[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(now >> (40 - 8 * i));
  b[6] = (b[6] & 0x0f) | 0x70;
  b[8] = (b[8] & 0x3f) | 0x80;
  char text[37];
  std::snprintf(text, sizeof text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
                b[15]);
  return text;
}

std::string NeighbouringIds::next(std::int64_t now) {
  constexpr std::int64_t kMoment = 250;
  constexpr int kBeginning = 3, kLength = 12;  // 45 bits tell those of one moment apart
  const std::lock_guard lock(mutex_);
  if (beginning_.empty() || now < since_ || now - since_ >= kMoment) {
    beginning_ = random_id(kBeginning);
    since_ = now;
  }
  return beginning_ + random_id(kLength - kBeginning);
}

std::string request_id_from(std::string_view sent) {
  const bool safe =
      !sent.empty() && sent.size() <= 64 && std::all_of(sent.begin(), sent.end(), [](unsigned char c) {
        return std::isalnum(c) || c == '-' || c == '_' || c == '.';
      });
  return safe ? std::string(sent) : random_id();
}

bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !std::isxdigit(static_cast<unsigned char>(text[i]))) return false;
  }
  return true;
}

}  // namespace wring
