// Which place: what DATA/blobs.yaml says, key by key.
#include "server/blobs/shelf.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "common/error.h"
#include "common/files.h"
#include "recipe/check.h"
#include "recipe/yaml.h"
#include "server/blobs/disk/folder_shelf.h"
#include "server/blobs/s3/bucket_shelf.h"

namespace wring {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFile = "blobs.yaml";

// What stays as it is in a URL, so that nothing has to be encoded twice.
bool is_plain(const std::string& text, const char* more) {
  return std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return std::isalnum(c) || std::string_view(more).find(static_cast<char>(c)) != std::string_view::npos;
  });
}

S3Place read_s3(const Json& json, const Source& source) {
  check_keys(json, {"endpoint", "region", "bucket", "prefix"}, "s3", source);
  S3Place place;
  place.endpoint = string_or_empty(json, "endpoint", "s3", source);
  place.bucket = string_or_empty(json, "bucket", "s3", source);
  place.prefix = string_or_empty(json, "prefix", "s3", source);
  if (json.contains("region")) place.region = string_or_empty(json, "region", "s3", source);
  while (place.endpoint.ends_with('/')) place.endpoint.pop_back();
  const bool is_url = place.endpoint.starts_with("https://") || place.endpoint.starts_with("http://");
  if (!is_url || !is_plain(place.endpoint, ":/.-_[]"))
    source.fail("BAD_ENDPOINT", "s3.endpoint", shown(place.endpoint) + " is no address of an S3 service",
                "For instance https://s3.eu-central-1.amazonaws.com.");
  if (place.bucket.empty() || !is_plain(place.bucket, ".-"))
    source.fail("BAD_BUCKET", "s3.bucket", shown(place.bucket) + " is no bucket's name",
                "Letters, digits, dots and dashes.");
  if (!is_plain(place.prefix, "/.-_") || place.prefix.starts_with('/') || place.prefix.ends_with('/'))
    source.fail("BAD_PREFIX", "s3.prefix", shown(place.prefix) + " is no prefix",
                "Letters, digits, dots, dashes, underscores and slashes between them.");
  if (place.region.empty() || !is_plain(place.region, "-"))
    source.fail("BAD_REGION", "s3.region", shown(place.region) + " is no region");
  return place;
}

std::string from_environment(const char* name) {
  const char* const value = std::getenv(name);
  if (!value || *value == '\0')
    throw Error(
        ErrorCode::kFailedPrecondition, "NO_S3_KEYS", std::string(name) + " is not set", "s3",
        "The keys of the bucket come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment.");
  return value;
}

std::unique_ptr<BlobShelf> open_named(const Json& json, const Source& source, ShelfUse access) {
  check_keys(json, {"s3", "folder"}, "", source);
  if (json.size() != 1)
    source.fail("BAD_PLACE", "", "it names " + std::to_string(json.size()) + " places",
                "One of s3: {...} and folder: DIR.");
  if (json.contains("s3"))
    return std::make_unique<BucketShelf>(
        read_s3(json["s3"], source),
        S3Keys{from_environment("AWS_ACCESS_KEY_ID"), from_environment("AWS_SECRET_ACCESS_KEY")});
  const fs::path folder = string_or_empty(json, "folder", "", source);
  if (!folder.is_absolute() || !fs::is_directory(folder))
    source.fail("BAD_PATH", "folder",
                shown(folder.string()) + " is no absolute path of a folder that is there");
  return std::make_unique<FolderShelf>(folder, access);
}

}  // namespace

void throw_blob_not_found(const Digest& digest) {
  throw Error(ErrorCode::kNotFound, "BLOB_NOT_FOUND", "there is no blob " + digest.hex(), "digest",
              "wring put of the same file uploads it again; wring-server fsck names what lacks blobs.");
}

std::optional<Digest> digest_named(const std::string& name) {
  if (name.size() != 64 || name.find_first_not_of("0123456789abcdef") != name.npos) return std::nullopt;
  return Digest::parse(name);
}

std::unique_ptr<BlobShelf> open_shelf(const fs::path& data, ShelfUse access) {
  const auto file = data / kFile;
  if (!fs::exists(file)) return std::make_unique<FolderShelf>(data, access);
  try {
    const auto document = parse_yaml(read_file(file, 1u << 20), kFile);
    return open_named(document.value, Source{kFile, document.lines}, access);
  } catch (const Error& error) {
    if (error.reason() == "MALFORMED_RECIPE")
      throw Error(error.code(), "MALFORMED_CONFIG", error.message(), file.string(), error.hint());
    throw Error(error.code(), error.reason(), error.message(),
                file.string() + (error.field().empty() ? "" : ": " + error.field()), error.hint());
  }
}

}  // namespace wring
