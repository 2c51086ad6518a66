// One easy handle a request; libcurl signs, this file says what.
#include "server/blobs/s3/s3_client.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>

#include "common/digest.h"
#include "common/error.h"

namespace wring {
namespace {

constexpr int kTries = 4;
constexpr auto kFirstPause = std::chrono::milliseconds(200);  // doubles
constexpr std::size_t kIdleHandles = 16;
constexpr long kConnectSeconds = 10, kStalledSeconds = 30;

struct Body {
  std::string text;
  std::uint64_t most = 0;
};

std::size_t take_bytes(char* bytes, std::size_t, std::size_t count, void* into) {
  auto& body = *static_cast<Body*>(into);
  if (body.text.size() + count > body.most) return 0;  // libcurl ends the transfer
  body.text.append(bytes, count);
  return count;
}

class Headers {
 public:
  ~Headers() { ::curl_slist_free_all(list_); }
  Headers() = default;
  Headers(const Headers&) = delete;
  Headers& operator=(const Headers&) = delete;
  void add(const std::string& header) { list_ = ::curl_slist_append(list_, header.c_str()); }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

// What stands in the XML of an error under that name; empty: nothing.
std::string element(const std::string& xml, const std::string& name) {
  const auto begin = xml.find("<" + name + ">"), end = xml.find("</" + name + ">");
  if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
  const auto at = begin + name.size() + 2;
  return xml.substr(at, end - at);
}

// Also what was damaged or cut on its way.
bool may_pass(const S3Answer& answer) {
  if (answer.status < 400) return false;
  const auto code = element(answer.body, "Code");
  const auto passing = {"BadDigest",     "XAmzContentSHA256Mismatch", "IncompleteBody", "RequestTimeout",
                        "InternalError", "ServiceUnavailable",        "SlowDown"};
  return answer.status == 429 || answer.status >= 500 ||
         std::find(passing.begin(), passing.end(), code) != passing.end();
}

// The service's own words, a few of them, for people.
std::string said(const S3Answer& answer) {
  const auto text = element(answer.body, "Message");
  return "status " + std::to_string(answer.status) + (text.empty() ? "" : ": " + text.substr(0, 300));
}

}  // namespace

S3Client::S3Client(S3Place place, S3Keys keys) : place_(std::move(place)), keys_(std::move(keys)) {
  static const CURLcode global = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (global != CURLE_OK) throw Error(ErrorCode::kInternal, "CURL", "libcurl does not start");
}

std::string S3Client::path_of(const std::string& key) const {
  return "/" + place_.bucket + (key.empty() ? "" : "/" + object_of(key));
}

std::string S3Client::object_of(const std::string& key) const {
  return place_.prefix.empty() ? key : place_.prefix + "/" + key;
}

S3Client::Handle S3Client::take() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return Handle(::curl_easy_init());
  Handle handle = std::move(idle_.back());
  idle_.pop_back();
  ::curl_easy_reset(handle.get());  // connections stay
  return handle;
}

void S3Client::give_back(Handle handle) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kIdleHandles) idle_.push_back(std::move(handle));
}

std::string S3Client::send_once(const S3Request& request, S3Answer& answer) {
  Handle handle = take();
  CURL* const curl = handle.get();
  const std::string url =
      place_.endpoint + path_of(request.key) + (request.query.empty() ? "" : "?" + request.query);
  const std::string signer = "aws:amz:" + place_.region + ":s3";
  Body body{{}, request.most_bytes};
  Headers headers;
  for (const auto& header : request.headers) headers.add(header);
  headers.add("x-amz-content-sha256: " + sha256(request.body).hex());
  char why[CURL_ERROR_SIZE] = "";
  const auto set = [&](CURLoption option, auto value) { ::curl_easy_setopt(curl, option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_AWS_SIGV4, signer.c_str());
  set(CURLOPT_USERNAME, keys_.id.c_str());
  set(CURLOPT_PASSWORD, keys_.secret.c_str());
  set(CURLOPT_ERRORBUFFER, why);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, kStalledSeconds);
  set(CURLOPT_FILETIME, 1L);
  set(CURLOPT_WRITEFUNCTION, &take_bytes);
  set(CURLOPT_WRITEDATA, &body);
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  if (request.method == "PUT" || request.method == "POST") {
    headers.add("Content-Type: application/octet-stream");
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_POSTFIELDS, request.body.empty() ? "" : request.body.data());
  }
  set(CURLOPT_HTTPHEADER, headers.get());
  const CURLcode code = ::curl_easy_perform(curl);
  curl_off_t length = 0, time = -1;
  ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  ::curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  ::curl_easy_getinfo(curl, CURLINFO_FILETIME_T, &time);
  answer.length = static_cast<std::uint64_t>(std::max<curl_off_t>(0, length));
  answer.last_modified = time;
  answer.body = std::move(body.text);
  curl_header* etag = nullptr;
  if (::curl_easy_header(curl, "ETag", 0, CURLH_HEADER, -1, &etag) == CURLHE_OK) answer.etag = etag->value;
  give_back(std::move(handle));
  if (code == CURLE_OK) return "";
  return why[0] != '\0' ? why : ::curl_easy_strerror(code);
}

S3Answer S3Client::send(const S3Request& request) {
  std::string trouble;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(kFirstPause * (1 << (attempt - 1)));
    S3Answer answer;
    trouble = send_once(request, answer);
    if (request.method != "GET" && answer.status / 100 == 2 && !element(answer.body, "Code").empty())
      answer.status = 400;  // what takes long is answered with 200 before it has failed
    if (trouble.empty() && !may_pass(answer)) {
      if (answer.status == 401 || answer.status == 403)
        throw Error(ErrorCode::kPermissionDenied, "S3_REFUSED",
                    place_.endpoint + path_of(request.key) + ": " + said(answer), "",
                    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may list, read, write "
                    "and delete there.");
      if (answer.status / 100 != 2 && answer.status != 404)
        throw Error(ErrorCode::kInternal, "S3_ANSWER",
                    place_.endpoint + path_of(request.key) + ": " + said(answer));
      return answer;
    }
    if (trouble.empty()) trouble = said(answer);
  }
  throw Error(ErrorCode::kUnavailable, "S3_AWAY", place_.endpoint + path_of(request.key) + ": " + trouble, "",
              "The bucket could not be reached, four times; what was asked for may be asked again.");
}

void throw_no_bucket(const S3Client& client) {
  throw Error(ErrorCode::kFailedPrecondition, "NO_BUCKET", "there is no bucket " + client.place().bucket,
              "s3.bucket", "Make it; Wring makes none.");
}

std::string url_encoded(std::string_view text) {
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

}  // namespace wring
