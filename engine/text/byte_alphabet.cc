// The byte alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up, in order.
#include "engine/text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "engine/text/unicode.h"

namespace wring {
namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr int kStandIns = 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char32_t, 256> letter{};
  std::array<unsigned char, 0x100 + kStandIns> byte{};
  std::array<bool, 0x100 + kStandIns> known{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  char32_t next = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t letter = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
    alphabet.letter[byte] = letter;
    alphabet.byte[letter] = static_cast<unsigned char>(byte);
    alphabet.known[letter] = true;
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string spell_bytes(std::string_view bytes) {
  std::string token;
  for (const char c : bytes) append_utf8(token, kAlphabet.letter[static_cast<unsigned char>(c)]);
  return token;
}

std::optional<std::string> spelt_bytes(std::string_view token) {
  std::string bytes;
  for (std::size_t i = 0; i < token.size();) {
    const auto [letter, length] = code_point_at(token, i);
    if (letter >= kAlphabet.known.size() || !kAlphabet.known[letter]) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[letter]));
    i += length;
  }
  return bytes;
}

}  // namespace wring
