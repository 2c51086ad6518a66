// SHA-256: the name of every blob, artifact, recipe and stage.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace wring {

// A SHA-256 value. Printed as 64 lower-case hex digits, without a prefix.
struct Digest {
  std::array<std::uint8_t, 32> bytes{};

  auto operator<=>(const Digest&) const = default;
  std::string hex() const;

  // Takes 64 hex digits, with or without "sha256:" in front. Throws Error(kInvalidArgument, "BAD_DIGEST")
  // about `field`.
  static Digest parse(std::string_view text, const std::string& field = {});
};

// Hashes a stream of bytes. One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);

  // The digest of everything so far; the object is then spent.
  Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Digest sha256(std::span<const std::byte> bytes);
Digest sha256(std::string_view text);

}  // namespace wring

template <>
struct std::hash<wring::Digest> {
  std::size_t operator()(const wring::Digest& digest) const noexcept;
};
