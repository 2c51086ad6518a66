// Each blob one object; nothing of it is known here that the bucket does not say.
#include "server/blobs/s3/bucket_shelf.h"

#include <cctype>
#include <chrono>
#include <cstdio>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "server/blobs/s3/bucket_page.h"

namespace wring {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kPageBytes = 8u << 20;
constexpr const char* kOwner = "owner";

std::string key_of(const Digest& digest) {
  return "blobs/" + digest.hex();
}

class FetchedBlob final : public ShelvedBlob {
 public:
  explicit FetchedBlob(std::string bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  bool read(std::uint64_t begin, std::uint64_t end, const ByteSink& sink) const override {
    if (end > bytes_.size()) return false;
    return begin == end || sink(std::as_bytes(std::span(bytes_)).subspan(begin, end - begin));
  }

 private:
  std::string bytes_;
};

std::string encoded(const std::string& text) {
  std::string out;
  for (const unsigned char c : text) {
    if (std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~') {
      out.push_back(static_cast<char>(c));
    } else {
      char code[4];
      std::snprintf(code, sizeof code, "%%%02X", c);
      out += code;
    }
  }
  return out;
}

std::int64_t in_seconds(fs::file_time_type time) {
  const auto since = fs::file_time_type::clock::to_sys(time).time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(since).count();
}

[[noreturn]] void throw_no_bucket(const S3Client& client) {
  throw Error(ErrorCode::kFailedPrecondition, "NO_BUCKET", "there is no bucket " + client.place().bucket,
              "s3.bucket", "Make it; Wring makes none.");
}

}  // namespace

BucketShelf::BucketShelf(S3Place place, S3Keys keys)
    : client_(std::make_unique<S3Client>(std::move(place), std::move(keys))) {
  if (client_->send({.method = "HEAD"}).status == 404) throw_no_bucket(*client_);
}

bool BucketShelf::has(const Digest& digest) const {
  return client_->send({.method = "HEAD", .key = key_of(digest)}).status != 404;
}

std::unique_ptr<ShelvedBlob> BucketShelf::open(const Digest& digest) const {
  auto answer = client_->send({.method = "GET", .key = key_of(digest), .most_bytes = kMaxBlobBytes});
  if (answer.status == 404) return nullptr;
  return std::make_unique<FetchedBlob>(std::move(answer.body));
}

std::uint64_t BucketShelf::size(const Digest& digest) const {
  const auto answer = client_->send({.method = "HEAD", .key = key_of(digest)});
  if (answer.status == 404) throw_blob_not_found(digest);
  return answer.length;
}

std::vector<Digest> BucketShelf::all() const {
  const auto& place = client_->place();
  const std::string prefix = (place.prefix.empty() ? "" : place.prefix + "/") + "blobs/";
  std::vector<Digest> digests;
  std::string next;
  do {
    const std::string token = next.empty() ? "" : "continuation-token=" + encoded(next) + "&";
    const auto answer = client_->send({.method = "GET",
                                       .query = token + "list-type=2&prefix=" + encoded(prefix),
                                       .most_bytes = kPageBytes});
    const auto page = parse_bucket_page(answer.body, prefix);
    for (const auto& name : page.names)
      if (const auto digest = digest_named(name)) digests.push_back(*digest);
    if (!page.next.empty() && page.next == next)
      throw Error(ErrorCode::kInternal, "S3_ANSWER", "the bucket's list goes in circles");
    next = page.next;
  } while (!next.empty());
  return digests;
}

bool BucketShelf::copy(const std::string& from, const std::string& to) const {
  return client_
             ->send({.method = "PUT",
                     .key = to,
                     .headers = {"x-amz-copy-source: " + client_->path_of(from),
                                 "x-amz-metadata-directive: REPLACE"}})
             .status != 404;
}

bool BucketShelf::renew(const Digest& digest) {
  return copy(key_of(digest), key_of(digest));
}

void BucketShelf::put(const Digest& digest, const fs::path& part) {
  const auto answer =
      client_->send({.method = "PUT", .key = key_of(digest), .file = part, .file_sha256 = digest.hex()});
  if (answer.status == 404) throw_no_bucket(*client_);
  std::error_code ignored;
  fs::remove(part, ignored);
}

std::uint64_t BucketShelf::remove_older(const Digest& digest, fs::file_time_type before) {
  const auto answer = client_->send({.method = "HEAD", .key = key_of(digest)});
  if (answer.status == 404 || answer.last_modified < 0 || answer.last_modified >= in_seconds(before))
    return 0;
  client_->send({.method = "DELETE", .key = key_of(digest)});
  return answer.length;
}

std::string BucketShelf::set_aside(const Digest& digest) {
  const std::string corrupt = "corrupt/" + digest.hex();
  copy(key_of(digest), corrupt);
  client_->send({.method = "DELETE", .key = key_of(digest)});
  return client_->path_of(corrupt);
}

std::string BucketShelf::owner() const {
  const auto answer = client_->send({.method = "GET", .key = kOwner});
  return answer.status == 404 ? "" : answer.body;
}

void BucketShelf::set_owner(const std::string& database) {
  const TempDir folder;
  const auto file = folder.path() / kOwner;
  write_file_atomic(file, database);
  client_->send({.method = "PUT", .key = kOwner, .file = file, .file_sha256 = sha256(database).hex()});
}

}  // namespace wring
