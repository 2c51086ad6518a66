// S3's XML, by Boost's parser, which goes down as deep as the elements lie.
#include "server/blobs/s3/s3_answers.h"

#include <time.h>

#include <algorithm>
#include <boost/property_tree/xml_parser.hpp>
#include <sstream>

#include "common/error.h"

namespace wring {
namespace {

using boost::property_tree::ptree;

constexpr int kDeepest = 64;              // answers have 4
constexpr std::size_t kLongestId = 1024;  // it goes into URLs

[[noreturn]] void throw_unreadable(const std::string& why) {
  throw Error(ErrorCode::kInternal, "S3_ANSWER", "the bucket's answer cannot be read: " + why);
}

// No deeper than so many tags that open and are not closed; what is no tag counts as one, which only makes
// the bound stricter.
void check_depth(const std::string& xml) {
  int depth = 0;
  for (std::size_t at = xml.find('<'); at != std::string::npos; at = xml.find('<', at + 1)) {
    const auto end = xml.find('>', at);
    const char next = at + 1 < xml.size() ? xml[at + 1] : '\0';
    if (next == '?' || next == '!') continue;
    if (next == '/')
      --depth;
    else if (end == std::string::npos || xml[end - 1] != '/')
      ++depth;
    if (depth > kDeepest) throw_unreadable("its elements lie too deep");
  }
}

// Hands the element `root` to `take`.
template <typename Take>
void read_answer(const std::string& xml, const char* root, const Take& take) {
  check_depth(xml);
  try {
    ptree tree;
    std::istringstream in(xml);
    boost::property_tree::read_xml(in, tree);
    take(tree.get_child(root));
  } catch (const boost::property_tree::ptree_error& error) {
    throw_unreadable(error.what());
  }
}

bool is_truncated(const ptree& page) {
  return page.get("IsTruncated", "false") == "true";
}

std::string upload_id(const ptree& entry) {
  auto id = entry.get<std::string>("UploadId");
  if (id.empty() || id.size() > kLongestId)
    throw_unreadable("an upload id of " + std::to_string(id.size()) + " bytes");
  return id;
}

// 2026-11-30T13:39:24.000Z
std::int64_t in_seconds(const std::string& time) {
  struct tm fields {};
  const char* const end = ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &fields);
  return end && (*end == '.' || *end == 'Z') ? ::timegm(&fields) : -1;
}

}  // namespace

BucketPage parse_bucket_page(const std::string& xml, const std::string& prefix) {
  BucketPage page;
  read_answer(xml, "ListBucketResult", [&](const ptree& result) {
    for (const auto& [name, entry] : result) {
      if (name != "Contents") continue;
      const auto key = entry.get<std::string>("Key");
      if (key.starts_with(prefix)) page.names.push_back(key.substr(prefix.size()));
    }
    if (is_truncated(result)) page.next = result.get<std::string>("NextContinuationToken");
  });
  return page;
}

UploadsPage parse_uploads_page(const std::string& xml) {
  UploadsPage page;
  read_answer(xml, "ListMultipartUploadsResult", [&](const ptree& result) {
    for (const auto& [name, entry] : result)
      if (name == "Upload")
        page.uploads.push_back(
            {entry.get<std::string>("Key"), upload_id(entry), in_seconds(entry.get("Initiated", ""))});
    if (!is_truncated(result)) return;
    page.next_key = result.get<std::string>("NextKeyMarker");
    page.next_id = result.get("NextUploadIdMarker", "");
  });
  return page;
}

std::string parse_upload_id(const std::string& xml) {
  std::string id;
  read_answer(xml, "InitiateMultipartUploadResult", [&](const ptree& result) { id = upload_id(result); });
  return id;
}

std::vector<UploadedPart> parse_parts(const std::string& xml) {
  std::vector<UploadedPart> parts;
  read_answer(xml, "ListPartsResult", [&](const ptree& result) {
    for (const auto& [name, entry] : result)
      if (name == "Part")
        parts.push_back({entry.get<std::uint64_t>("PartNumber"), entry.get<std::uint64_t>("Size"),
                         plain_etag(entry.get<std::string>("ETag"))});
  });
  return parts;
}

std::string plain_etag(std::string etag) {
  std::erase(etag, '"');
  const auto stands = [](unsigned char c) { return c > ' ' && c < 0x7f && c != '<' && c != '>' && c != '&'; };
  if (etag.empty() || etag.size() > kLongestId || !std::all_of(etag.begin(), etag.end(), stands))
    throw_unreadable("an ETag that is none");
  return etag;
}

}  // namespace wring
