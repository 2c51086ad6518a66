// AES-SIV by OpenSSL; the list is the associated data.
#include "server/api/page_tokens.h"

#include <google/protobuf/descriptor.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <utility>

#include "common/error.h"
#include "server/api/messages.h"

namespace wring {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr int kTag = 16;  // bytes, in front of what is sealed

using Context = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;
using Cipher = std::unique_ptr<EVP_CIPHER, decltype(&EVP_CIPHER_free)>;

const unsigned char* bytes_of(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

void require(bool done) {
  if (!done) throw Error(ErrorCode::kInternal, "OPENSSL", "OpenSSL could not seal a page token");
}

Context begin(const std::string& key, bool seals) {
  const Cipher cipher(EVP_CIPHER_fetch(nullptr, "AES-128-SIV", nullptr), &EVP_CIPHER_free);
  Context context(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  require(cipher && context && key.size() >= 32);
  require(EVP_CipherInit_ex2(context.get(), cipher.get(), bytes_of(key), nullptr, seals, nullptr) == 1);
  return context;
}

// False where the text was sealed for another list.
bool pass(EVP_CIPHER_CTX* context, const std::string& list, const std::string& text, unsigned char* out) {
  int size = 0;
  require(EVP_CipherUpdate(context, nullptr, &size, bytes_of(list), static_cast<int>(list.size())) == 1);
  return EVP_CipherUpdate(context, out, &size, bytes_of(text), static_cast<int>(text.size())) == 1;
}

std::string hex_of(const std::string& bytes) {
  std::string hex(2 * bytes.size() + 1, '\0');
  require(OPENSSL_buf2hexstr_ex(hex.data(), hex.size(), nullptr, bytes_of(bytes), bytes.size(), '\0') == 1);
  hex.pop_back();
  return hex;
}

std::optional<std::string> from_hex(const std::string& hex) {
  std::string bytes(hex.size() / 2, '\0');
  std::size_t size = 0;
  if (OPENSSL_hexstr2buf_ex(bytes_of(bytes), bytes.size(), &size, hex.c_str(), '\0') != 1)
    return std::nullopt;
  bytes.resize(size);
  return bytes;
}

std::string seal(const std::string& text, const std::string& list, const std::string& key) {
  const Context context = begin(key, true);
  std::string sealed(kTag + text.size(), '\0');
  require(pass(context.get(), list, text, bytes_of(sealed) + kTag));
  require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kTag, sealed.data()) == 1);
  return hex_of(sealed);
}

std::optional<std::string> open(const std::string& token, const std::string& list, const std::string& key) {
  auto sealed = from_hex(token);
  if (!sealed || sealed->size() <= kTag) return std::nullopt;
  const Context context = begin(key, false);
  require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kTag, sealed->data()) == 1);
  std::string text(sealed->size() - kTag, '\0');
  if (!pass(context.get(), list, sealed->substr(kTag), bytes_of(text))) return std::nullopt;
  return text;
}

// Takes the field's value out of the message.
std::string take(google::protobuf::Message& request, const char* field) {
  const auto* const descriptor = request.GetDescriptor()->FindFieldByName(field);
  std::string value;
  if (descriptor->type() == google::protobuf::FieldDescriptor::TYPE_STRING)
    value = request.GetReflection()->GetString(request, descriptor);
  request.GetReflection()->ClearField(&request, descriptor);
  return value;
}

}  // namespace

PageTokens::PageTokens(const google::protobuf::Message& request, const Within& project, std::string key)
    : key_(std::move(key)) {
  const std::unique_ptr<google::protobuf::Message> rest(request.New());
  rest->CopyFrom(request);
  asked_ = take(*rest, "page_token");
  take(*rest, "page_size");
  list_ = request.GetTypeName() + " " + request_digest(*rest) + " " + project;
}

std::string PageTokens::token(std::uint64_t position) const {
  std::string bytes(sizeof position, '\0');
  std::memcpy(bytes.data(), &position, sizeof position);
  return token(bytes);
}

std::string PageTokens::token(const std::string& name) const {
  return seal(name, list_, key_);
}

std::uint64_t PageTokens::position() const {
  const auto bytes = name();
  std::uint64_t position = 0;
  if (bytes) std::memcpy(&position, bytes->data(), std::min(bytes->size(), sizeof position));
  return position;
}

std::optional<std::string> PageTokens::name() const {
  if (asked_.empty()) return std::nullopt;
  auto text = open(asked_, list_, key_);
  if (!text)
    throw Error(ErrorCode::kInvalidArgument, "BAD_PAGE_TOKEN",
                "this is no page token of this list with these filters", "page_token",
                "Pass next_page_token of the page before, and all else as for that page.");
  return text;
}

}  // namespace wring
