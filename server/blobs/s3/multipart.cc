// One PUT; or find or begin an upload, send what it lacks, complete it.
#include "server/blobs/s3/multipart.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <map>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/files.h"
#include "common/log.h"
#include "server/blobs/s3/s3_answers.h"
#include "server/blobs/shelf.h"

namespace wring {

namespace fs = std::filesystem;

namespace {

constexpr int kRounds = 3;
constexpr std::uint64_t kUploadsBytes = 4u << 20;  // a thousand in a page

using Parts = std::map<std::uint64_t, UploadedPart>;

// In hex digits, as ETags are; empty where this OpenSSL has no MD5.
std::string md5(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash;
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), hash.data(), &size, EVP_md5(), nullptr) != 1) return "";
  std::string hex;
  for (unsigned int i = 0; i < size; ++i)
    for (const int digit : {hash[i] >> 4, hash[i] & 15}) hex.push_back("0123456789abcdef"[digit]);
  return hex;
}

void check_unchanged(const Digest& digest, const Digest& found) {
  if (found == digest) return;
  throw Error(ErrorCode::kDataLoss, "DIGEST_MISMATCH",
              "the server's disk no longer holds the bytes of digest " + digest.hex(), "digest",
              "Send them again.");
}

UploadsPage uploads_page(S3Client& client, const std::string& prefix, const UploadsPage& last) {
  std::string query;  // its names in order
  if (!last.next_key.empty()) query = "key-marker=" + url_encoded(last.next_key) + "&";
  query += "prefix=" + url_encoded(client.object_of(prefix));
  if (!last.next_id.empty()) query += "&upload-id-marker=" + url_encoded(last.next_id);
  const auto answer =
      client.send({.method = "GET", .query = query + "&uploads=", .most_bytes = kUploadsBytes});
  if (answer.status == 404) throw_no_bucket(client);
  auto page = parse_uploads_page(answer.body);
  if (!page.next_key.empty() && page.next_key == last.next_key && page.next_id == last.next_id)
    throw Error(ErrorCode::kInternal, "S3_ANSWER", "the bucket's list of uploads goes in circles");
  return page;
}

std::string query_of(const std::string& upload) {
  return "uploadId=" + url_encoded(upload);
}

void abort_upload(S3Client& client, const std::string& key, const std::string& upload) {
  client.send({.method = "DELETE", .key = key, .query = query_of(upload)});
}

// One upload of a blob. Where the service no longer knows it, because somebody completed or aborted it, its
// functions return false.
class PartedUpload {
 public:
  PartedUpload(S3Client& client, const std::string& key, const fs::path& file)
      : client_(client), key_(key), file_(file), in_(file, std::ios::binary), bytes_(fs::file_size(file)) {
    if (!find()) begin();
  }

  bool send(const Digest& digest);

 private:
  bool find();
  void begin();
  Parts parts_of(const std::string& upload);
  std::string read_part();
  bool send_part(std::uint64_t number, std::string_view bytes);
  bool complete();
  bool send_all(const Digest& digest);
  void abort();

  S3Client& client_;
  const std::string& key_;
  const fs::path& file_;
  std::ifstream in_;
  std::uint64_t bytes_;
  std::string id_;
  Parts there_;
  std::string list_;  // of what is to be completed
};

Parts PartedUpload::parts_of(const std::string& upload) {
  const auto answer = client_.send({.method = "GET", .key = key_, .query = query_of(upload)});
  Parts parts;
  if (answer.status == 404) return parts;
  for (auto& part : parse_parts(answer.body)) parts[part.number] = std::move(part);
  return parts;
}

// The one with the most parts: a request to begin one that was made twice leaves one with none.
bool PartedUpload::find() {
  for (const auto& upload : uploads_page(client_, key_, {}).uploads) {
    if (upload.key != client_.object_of(key_)) continue;
    auto parts = parts_of(upload.id);
    if (!id_.empty() && parts.size() <= there_.size()) continue;
    id_ = upload.id;
    there_ = std::move(parts);
  }
  return !id_.empty();
}

void PartedUpload::begin() {
  const auto answer = client_.send({.method = "POST", .key = key_, .query = "uploads="});
  if (answer.status == 404) throw_no_bucket(client_);
  id_ = parse_upload_id(answer.body);
}

std::string PartedUpload::read_part() {
  std::string part(static_cast<std::size_t>(std::min(kPartBytes, bytes_)), '\0');
  if (!in_.read(part.data(), static_cast<std::streamsize>(part.size()))) throw_io_error("read", file_, EIO);
  bytes_ -= part.size();
  return part;
}

bool PartedUpload::send_part(std::uint64_t number, std::string_view bytes) {
  const auto part = there_.find(number);
  std::string etag;
  if (part != there_.end() && part->second.bytes == bytes.size() && part->second.etag == md5(bytes)) {
    etag = part->second.etag;
  } else {
    const auto answer = client_.send({.method = "PUT",
                                      .key = key_,
                                      .query = "partNumber=" + std::to_string(number) + "&" + query_of(id_),
                                      .body = bytes});
    if (answer.status == 404) return false;
    etag = plain_etag(answer.etag);
  }
  list_ +=
      "<Part><PartNumber>" + std::to_string(number) + "</PartNumber><ETag>\"" + etag + "\"</ETag></Part>";
  return true;
}

bool PartedUpload::complete() {
  const std::string list = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" +
                           list_ + "</CompleteMultipartUpload>";
  return client_.send({.method = "POST", .key = key_, .query = query_of(id_), .body = list}).status != 404;
}

bool PartedUpload::send_all(const Digest& digest) {
  Sha256 whole;
  for (std::uint64_t number = 1; bytes_ > 0; ++number) {
    const auto part = read_part();
    whole.update(part);
    if (!send_part(number, part)) return false;
  }
  check_unchanged(digest, whole.finish());
  return complete();
}

bool PartedUpload::send(const Digest& digest) {
  try {
    return send_all(digest);
  } catch (const Error& error) {
    if (error.reason() == "S3_ANSWER" || error.reason() == "DIGEST_MISMATCH") abort();
    throw;
  }
}

void PartedUpload::abort() {
  try {
    abort_upload(client_, key_, id_);
  } catch (const Error& error) {
    spdlog::error("an upload to the bucket stays until it is collected: {}", error.message());
  }
}

void put_whole(S3Client& client, const std::string& key, const Digest& digest, const fs::path& file) {
  const auto bytes = read_file(file, kPartBytes);
  check_unchanged(digest, sha256(bytes));
  if (client.send({.method = "PUT", .key = key, .body = bytes}).status == 404) throw_no_bucket(client);
}

}  // namespace

void put_file(S3Client& client, const std::string& key, const Digest& digest, const fs::path& file) {
  const auto bytes = fs::file_size(file);
  if (bytes <= kPartBytes) return put_whole(client, key, digest, file);
  for (int round = 0; round < kRounds; ++round) {
    if (PartedUpload(client, key, file).send(digest)) return;
    const auto object = client.send({.method = "HEAD", .key = key});  // somebody else may have completed it
    if (object.status != 404 && object.length == bytes) return;
  }
  throw Error(ErrorCode::kUnavailable, "S3_AWAY",
              client.place().endpoint + client.path_of(key) + ": its upload was ended by somebody else, " +
                  std::to_string(kRounds) + " times",
              "", "Send it again. Does a rule of the bucket abort uploads?");
}

std::uint64_t abort_uploads(S3Client& client, const std::string& prefix, std::int64_t before) {
  std::uint64_t aborted = 0;
  UploadsPage page;
  do {
    page = uploads_page(client, prefix, page);
    for (const auto& upload : page.uploads) {
      const auto begin = client.object_of(prefix);
      if (!upload.key.starts_with(begin) || upload.begun < 0 || upload.begun >= before) continue;
      const auto name = upload.key.substr(begin.size());
      if (!digest_named(name)) continue;
      abort_upload(client, prefix + name, upload.id);
      ++aborted;
    }
  } while (!page.next_key.empty());
  return aborted;
}

}  // namespace wring
