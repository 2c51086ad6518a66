// ListObjectsV2's XML, by Boost's parser, which goes down as deep as the elements lie.
#include "server/blobs/s3/bucket_page.h"

#include <boost/property_tree/xml_parser.hpp>
#include <sstream>

#include "common/error.h"

namespace wring {
namespace {

constexpr int kDeepest = 64;  // lists have 4

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
    if (depth > kDeepest)
      throw Error(ErrorCode::kInternal, "S3_ANSWER",
                  "the bucket's list cannot be read: its elements lie too deep");
  }
}

}  // namespace

BucketPage parse_bucket_page(const std::string& xml, const std::string& prefix) {
  check_depth(xml);
  BucketPage page;
  boost::property_tree::ptree tree;
  try {
    std::istringstream in(xml);
    boost::property_tree::read_xml(in, tree);
    const auto& result = tree.get_child("ListBucketResult");
    for (const auto& [name, entry] : result) {
      if (name != "Contents") continue;
      const auto key = entry.get<std::string>("Key");
      if (key.starts_with(prefix)) page.names.push_back(key.substr(prefix.size()));
    }
    if (result.get("IsTruncated", "false") == "true")
      page.next = result.get<std::string>("NextContinuationToken");
  } catch (const boost::property_tree::ptree_error& error) {
    throw Error(ErrorCode::kInternal, "S3_ANSWER",
                std::string("the bucket's list cannot be read: ") + error.what());
  }
  return page;
}

}  // namespace wring
