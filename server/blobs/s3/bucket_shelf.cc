// Each blob one object; nothing of it is known here that the bucket does not say.
#include "server/blobs/s3/bucket_shelf.h"

#include <chrono>
#include <utility>

#include "common/error.h"
#include "server/blobs/s3/multipart.h"
#include "server/blobs/s3/s3_answers.h"

namespace wring {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kPageBytes = 8u << 20;
constexpr const char* kOwner = "owner";
constexpr const char* kBlobs = "blobs/";

std::string key_of(const Digest& digest) {
  return kBlobs + digest.hex();
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

// Cut to seconds before its epoch moves: the largest time has no room for that in nanoseconds.
std::int64_t in_seconds(fs::file_time_type time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  return fs::file_time_type::clock::to_sys(seconds).time_since_epoch().count();
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
  const std::string prefix = client_->object_of(kBlobs);
  std::vector<Digest> digests;
  std::string next;
  do {
    const std::string token = next.empty() ? "" : "continuation-token=" + url_encoded(next) + "&";
    const auto answer = client_->send({.method = "GET",
                                       .query = token + "list-type=2&prefix=" + url_encoded(prefix),
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
  put_file(*client_, key_of(digest), digest, part);
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

std::uint64_t BucketShelf::forget_unfinished(fs::file_time_type before) {
  return abort_uploads(*client_, kBlobs, in_seconds(before));
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
  client_->send({.method = "PUT", .key = kOwner, .body = database});
}

}  // namespace wring
