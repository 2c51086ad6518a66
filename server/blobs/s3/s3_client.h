// Requests to an S3-compatible service (AWS, Ceph, Swift, MinIO), signed by libcurl (AWS Signature Version
// 4).
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace wring {

struct S3Place {
  std::string endpoint;  // https://s3.eu-central-1.amazonaws.com, http://127.0.0.1:9000
  std::string region = "us-east-1";
  std::string bucket, prefix;  // keys begin with PREFIX/
};

struct S3Keys {
  std::string id, secret;
};

struct S3Request {
  std::string method;  // GET, HEAD, PUT, POST, DELETE
  std::string key;     // below the prefix; empty: the bucket itself
  std::string query;   // encoded, sorted by name
  std::vector<std::string> headers;
  std::string_view body;               // of PUT and POST; its SHA-256 goes along, which the service verifies
  std::uint64_t most_bytes = 1 << 20;  // of an answer
};

struct S3Answer {
  long status = 0;
  std::string body, etag;
  std::int64_t last_modified = -1;  // seconds since the epoch; -1: not told
  std::uint64_t length = 0;         // Content-Length
};

// Any thread may call; connections are kept. A request that may succeed later (no connection, 429, 5xx, a
// body that was damaged on its way) is made again, four times in all: every request here may be made twice.
class S3Client {
 public:
  S3Client(S3Place place, S3Keys keys);

  // Throws Error: kUnavailable "S3_AWAY" with what the service or the network said, kPermissionDenied
  // "S3_REFUSED" for 401 and 403, kInternal "S3_ANSWER" for other statuses than 2xx and 404.
  S3Answer send(const S3Request& request);

  const S3Place& place() const { return place_; }
  std::string object_of(const std::string& key) const;  // PREFIX/KEY
  std::string path_of(const std::string& key) const;    // /BUCKET/PREFIX/KEY

 private:
  struct Close {
    void operator()(CURL* handle) const { ::curl_easy_cleanup(handle); }
  };
  using Handle = std::unique_ptr<CURL, Close>;

  Handle take();
  void give_back(Handle handle);
  // Returns what went wrong on the way; empty: an answer came.
  std::string send_once(const S3Request& request, S3Answer& answer);

  S3Place place_;
  S3Keys keys_;
  std::mutex mutex_;
  std::vector<Handle> idle_;
};

// Throws Error(kFailedPrecondition, "NO_BUCKET").
[[noreturn]] void throw_no_bucket(const S3Client& client);

// For a query: all but letters, digits and -_.~ as %XX.
std::string url_encoded(std::string_view text);

}  // namespace wring
