// One easy handle a request; libcurl signs, this file says what.
#include "server/blobs/s3/s3_client.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>

#include "common/digest.h"
#include "common/error.h"
#include "common/files.h"

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

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

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

bool may_pass(long status) {
  return status == 429 || status >= 500;
}

// The service's own words, from its XML; a few of them, for people.
std::string said(const S3Answer& answer) {
  const auto begin = answer.body.find("<Message>");
  const auto end = answer.body.find("</Message>");
  const std::string text =
      begin < end && end != std::string::npos ? answer.body.substr(begin + 9, end - begin - 9) : "";
  return "status " + std::to_string(answer.status) + (text.empty() ? "" : ": " + text.substr(0, 300));
}

}  // namespace

S3Client::S3Client(S3Place place, S3Keys keys) : place_(std::move(place)), keys_(std::move(keys)) {
  static const CURLcode global = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (global != CURLE_OK) throw Error(ErrorCode::kInternal, "CURL", "libcurl does not start");
}

std::string S3Client::path_of(const std::string& key) const {
  std::string path = "/" + place_.bucket;
  if (key.empty()) return path;
  if (!place_.prefix.empty()) path += "/" + place_.prefix;
  return path + "/" + key;
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
  headers.add("x-amz-content-sha256: " +
              (request.file.empty() ? sha256(std::string_view()).hex() : request.file_sha256));
  char why[CURL_ERROR_SIZE] = "";
  const auto set = [&](CURLoption option, auto value) { ::curl_easy_setopt(curl, option, value); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_AWS_SIGV4, signer.c_str());
  set(CURLOPT_USERNAME, keys_.id.c_str());
  set(CURLOPT_PASSWORD, keys_.secret.c_str());
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_ERRORBUFFER, why);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, kStalledSeconds);
  set(CURLOPT_FILETIME, 1L);
  set(CURLOPT_WRITEFUNCTION, &take_bytes);
  set(CURLOPT_WRITEDATA, &body);
  std::unique_ptr<std::FILE, CloseFile> file;
  if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.method == "PUT") {
    set(CURLOPT_UPLOAD, 1L);
    std::uint64_t bytes = 0;
    if (!request.file.empty()) {
      file.reset(std::fopen(request.file.c_str(), "rbe"));
      if (!file) throw_io_error("open", request.file, errno);
      bytes = std::filesystem::file_size(request.file);
    }
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(bytes));
    set(CURLOPT_READDATA, file.get());
  } else if (request.method == "DELETE") {
    set(CURLOPT_CUSTOMREQUEST, "DELETE");
  }
  const CURLcode code = ::curl_easy_perform(curl);
  curl_off_t length = 0, time = -1;
  ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  ::curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  ::curl_easy_getinfo(curl, CURLINFO_FILETIME_T, &time);
  answer.length = static_cast<std::uint64_t>(std::max<curl_off_t>(0, length));
  answer.last_modified = time;
  answer.body = std::move(body.text);
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
    if (trouble.empty() && !may_pass(answer.status)) {
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

}  // namespace wring
