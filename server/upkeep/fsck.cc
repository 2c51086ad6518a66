// Database, blobs, artifacts, in this order: each is believed only when the one before it was looked at.
#include "server/upkeep/fsck.h"

#include <algorithm>
#include <set>

#include "common/error.h"
#include "common/files.h"
#include "formats/manifest.h"
#include "server/blobs/blob_store.h"
#include "server/store/place.h"
#include "server/store/sqlite/connection.h"
#include "server/store/statement.h"
#include "server/upkeep/data_lock.h"
#include "wring/v1/artifacts.pb.h"
#include "wring/v1/jobs.pb.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> integrity(const fs::path& file) {
  SqliteConnection database(file);
  std::vector<std::string> found;
  try {
    Statement rows(database, "PRAGMA integrity_check");
    while (rows.row())
      if (rows.text(0) != "ok") found.push_back(rows.text(0));
  } catch (const Error& error) {
    found.push_back(error.message());
  }
  return found;
}

void read_blobs(BlobStore& blobs, FsckReport& report) {
  for (const auto& digest : blobs.all()) {
    std::uint64_t size = 0;
    try {
      blobs.read(digest, 0, 0, [&](std::span<const std::byte> piece) {
        size += piece.size();
        return true;
      });
      ++report.blobs;
      report.bytes += size;
    } catch (const Error& error) {
      (error.reason() == "BLOB_CORRUPT" ? report.corrupt : report.unreadable).push_back(digest.hex());
    }
  }
}

// Ids of the jobs whose model, data or result is the artifact, that measured it, or made it for a project of
// theirs.
std::vector<std::string> jobs_of(Connection& database, const std::string& artifact) {
  std::vector<std::string> ids;
  const auto add = [&](const std::string& id) {
    if (!id.empty() && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  Statement rows(database, "SELECT id, spec, record FROM jobs ORDER BY sequence");
  while (rows.row()) {
    v1::JobSpec spec;
    spec.ParseFromString(rows.text(1));
    bool reads = spec.model() == artifact;
    for (const auto& [name, digest] : spec.data()) reads = reads || digest == artifact;
    const Json record = parse_json(rows.text(2), "record");
    if (reads || json_or<std::string>(record, "result", "") == artifact) add(rows.text(0));
  }
  Statement measured(database, "SELECT DISTINCT job_id FROM evaluations WHERE artifact = ? ORDER BY job_id");
  measured.bind(artifact);
  while (measured.row()) add(measured.text(0));
  Statement copies(database, "SELECT message FROM artifacts WHERE digest = ? ORDER BY row");  // one a project
  copies.bind(artifact);
  for (v1::Artifact copy; copies.row();) {
    copy.ParseFromString(copies.text(0));
    add(copy.created_by_job());  // of an export, too
  }
  return ids;
}

// Chunks of the artifact that are not there; throws where the row is not the manifest that its digest names.
std::uint64_t missing_chunks(const std::string& digest, const std::string& text, const FsckReport& report,
                             const BlobStore& blobs, std::set<Digest>& used) {
  if (text.empty()) throw Error(ErrorCode::kDataLoss, "BAD_MANIFEST", "there is no manifest of it");
  const auto manifest = Manifest::parse(text);
  if (manifest.digest().hex() != digest)
    throw Error(ErrorCode::kDataLoss, "BAD_MANIFEST", "the manifest is not the one that its digest names");
  std::set<Digest> missing;
  for (const auto& file : manifest.files)
    for (const auto& chunk : file.chunks) {
      used.insert(chunk.digest);
      const bool readable = std::find(report.unreadable.begin(), report.unreadable.end(),
                                      chunk.digest.hex()) == report.unreadable.end();
      if (!readable || !blobs.has(chunk.digest)) missing.insert(chunk.digest);
    }
  return missing.size();
}

// One that lacks a chunk is no loss: it is forgotten when it is asked for.
void add_stage_outputs(Connection& database, std::set<Digest>& used) {
  Statement rows(database, "SELECT manifest FROM stage_outputs");
  while (rows.row())
    for (const auto& file : Manifest::parse(rows.text(0)).files)
      for (const auto& chunk : file.chunks) used.insert(chunk.digest);
}

void find_chunks(Connection& database, const BlobStore& blobs, FsckReport& report) {
  std::set<Digest> used;
  Statement rows(database,
                 "SELECT a.digest, a.message, coalesce(m.manifest, '') FROM artifacts a LEFT JOIN manifests "
                 "m ON m.digest = a.digest "
                 "WHERE a.row = (SELECT min(row) FROM artifacts WHERE digest = a.digest) ORDER BY a.row");
  while (rows.row()) {
    const auto digest = rows.text(0);
    std::uint64_t missing = 0;
    try {
      missing = missing_chunks(digest, rows.text(2), report, blobs, used);
    } catch (const Error& error) {
      report.database.push_back("artifact " + digest + ": " + error.message());
    }
    if (missing == 0) continue;
    v1::Artifact artifact;
    artifact.ParseFromString(rows.text(1));
    report.artifacts.push_back({digest, artifact.name(), missing, jobs_of(database, digest)});
  }
  add_stage_outputs(database, used);
  for (const auto& digest : blobs.all())
    if (!used.contains(digest)) ++report.unused;
}

}  // namespace

Json FsckReport::to_json() const {
  Json touched = Json::array();
  for (const auto& artifact : artifacts)
    touched.push_back({{"digest", artifact.digest},
                       {"name", artifact.name},
                       {"missing_chunks", artifact.missing},
                       {"jobs", artifact.jobs}});
  return {{"clean", is_clean()},  {"blobs", blobs},     {"bytes", bytes},           {"unused_blobs", unused},
          {"database", database}, {"corrupt", corrupt}, {"unreadable", unreadable}, {"artifacts", touched}};
}

FsckReport check_data(const fs::path& folder) {
  check_has_database(folder);
  const FileDescriptor lock = lock_data(folder);
  FsckReport report;
  if (!is_on_postgresql(folder)) report.database = integrity(folder / kDatabase);
  const auto database = open_database(folder);  // whose lock, where it has one, is held until all is compared
  std::unique_ptr<Connection> connection;
  if (report.database.empty()) connection = database->connect_to_write();  // as its next server would
  BlobStore blobs(folder);
  read_blobs(blobs, report);
  if (connection) find_chunks(*connection, blobs, report);
  return report;
}

}  // namespace wring
