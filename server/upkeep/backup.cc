// SQLite's own online copy, then the blobs of the copy, then a rename.
#include "server/upkeep/backup.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "common/ids.h"
#include "formats/manifest.h"
#include "server/blobs/blob_store.h"
#include "server/store/audit_rows.h"
#include "server/store/place.h"
#include "server/store/sqlite/connection.h"
#include "server/store/sqlite/schema.h"
#include "server/store/statement.h"
#include "server/upkeep/data_lock.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInstead =
    "pg_dump and pg_restore do it, and a copy of the blobs (docs/operations.md).";

void remove_journals(const fs::path& path) {
  for (const char* suffix : {"-wal", "-shm", "-journal"}) fs::remove(path.string() + suffix);
}

void copy_whole(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) throw_io_error("copy", from, error.value());
}

// Size and time of the last change; nothing where there is no such file.
std::optional<std::pair<std::uintmax_t, fs::file_time_type>> state_of(const fs::path& path) {
  if (!fs::exists(path)) return std::nullopt;
  return std::pair(fs::file_size(path), fs::last_write_time(path));
}

// SQLite cannot open a database that it may not write beside, so that the files of one that is mounted
// read-only are copied as they are; the first connection to the copy takes the journal in. They are one state
// of the database only where nobody writes to them elsewhere meanwhile.
void copy_files(const fs::path& from, const fs::path& to) {
  const fs::path journal = from.string() + "-wal";
  const auto before = std::pair(state_of(from), state_of(journal));
  copy_whole(from, to);
  if (before.second) copy_whole(journal, to.string() + "-wal");
  if (std::pair(state_of(from), state_of(journal)) == before) return;
  remove_journals(to);
  fs::remove(to);
  throw Error(ErrorCode::kFailedPrecondition, "DATA_CHANGES",
              from.string() + " is mounted read-only here, and its server writes to it elsewhere", "",
              "Back up where the server runs, or mount a snapshot of the volume.");
}

void copy_database(const fs::path& from, const fs::path& to) {
  remove_journals(to);
  fs::remove(to);
  if (is_read_only(from.parent_path())) return copy_files(from, to);
  const SqliteConnection source(from), target(to);
  const std::unique_ptr<sqlite3_backup, decltype(&sqlite3_backup_finish)> copy(
      sqlite3_backup_init(target.handle(), "main", source.handle(), "main"), &sqlite3_backup_finish);
  const int code = copy ? sqlite3_backup_step(copy.get(), -1) : sqlite3_errcode(target.handle());
  if (code != SQLITE_DONE) throw_sqlite(target.handle(), code);
}

// Sizes by digest, of every chunk of every artifact.
std::map<Digest, std::uint64_t> blobs_of(Connection& database) {
  std::map<Digest, std::uint64_t> blobs;
  Statement rows(database, "SELECT manifest FROM manifests");
  while (rows.row())
    for (const auto& file : Manifest::parse(rows.text(0)).files)
      for (const auto& chunk : file.chunks) blobs.emplace(chunk.digest, chunk.size);
  return blobs;
}

void raise_epoch(const fs::path& path, TimeMs least) {
  SqliteConnection database(path);
  Statement(database, "UPDATE meta SET value = max(value + 1, ?) WHERE key = 'epoch'").bind(least).run();
}

// Their chunks are not in a backup.
void forget_stage_outputs(const fs::path& path) {
  SqliteConnection database(path);
  if (database.has_table("stage_outputs")) database.execute("DELETE FROM stage_outputs");
}

// The bytes of a blob, where they are there and whole.
std::optional<std::string> read_blob(const BlobShelf& shelf, const Digest& digest) {
  try {
    const auto blob = shelf.open(digest);
    std::string bytes;
    const bool complete =
        blob && blob->read(0, std::min(blob->size(), kMaxBlobBytes), [&](std::span<const std::byte> piece) {
          bytes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
          return true;
        });
    if (complete && sha256(bytes) == digest) return bytes;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kUnavailable) throw;  // nothing is known of the blob
  }
  return std::nullopt;
}

void put_blob(BlobStore& blobs, const Digest& digest, std::string_view bytes) {
  BlobStore::Upload upload(blobs, digest, bytes.size(), random_uuid());  // what a dead one left may be torn
  upload.append(0, std::as_bytes(std::span(bytes)));
  upload.finish();
}

std::uint64_t number(Connection& database, const char* sql) {
  Statement row(database, sql);
  return row.row() ? static_cast<std::uint64_t>(row.integer(0)) : 0;
}

// Copies the blobs that the database at `path` names; its rows are counted.
BackupReport copy_blobs(const fs::path& path, const fs::path& from, const fs::path& to) {
  SqliteConnection database(path);
  migrate(database);
  BackupReport report;
  report.jobs = number(database, "SELECT count(*) FROM jobs");
  report.artifacts = number(database, "SELECT count(*) FROM manifests");
  report.epoch = number(database, "SELECT value FROM meta WHERE key = 'epoch'");
  BlobStore target(to);
  const auto source = open_shelf(from, ShelfUse::kRead);  // its server may be running
  for (const auto& [digest, size] : blobs_of(database)) {
    ++report.blobs;
    report.bytes += size;
    if (target.has(digest)) continue;
    if (const auto bytes = read_blob(*source, digest)) {
      put_blob(target, digest, *bytes);
      report.copied_bytes += size;
    } else {
      report.lost.push_back(digest.hex());
    }
  }
  return report;
}

// In the database that comes of it.
void note_restore(const fs::path& path, const BackupReport& report, TimeMs now) {
  std::string what = std::to_string(report.jobs) + " jobs, " + std::to_string(report.artifacts) +
                     " artifacts, " + std::to_string(report.blobs) + " blobs of " +
                     std::to_string(report.bytes) + " bytes";
  if (!report.lost.empty()) what += ", " + std::to_string(report.lost.size()) + " of them lost";
  SqliteConnection database(path);
  put_audit_entry(database, {0, now, "operator", "", "", "wring-server restore", what, "OK", ""});
}

// Under its name from here on, in the place of what had it before, whose journal would be replayed into it.
void publish(const fs::path& half, const fs::path& folder) {
  if (fs::exists(half.string() + "-wal"))  // its last connection takes it in and removes it
    throw Error(ErrorCode::kInternal, "DATABASE", half.string() + " was not closed");
  sync_path(half);
  remove_journals(folder / kDatabase);
  fs::rename(half, folder / kDatabase);
  sync_path(folder);
}

void check_empty(const fs::path& data, const fs::path& half) {
  const fs::path database = data / kDatabase, blobs = data / "blobs";
  const bool has_blobs = fs::exists(blobs) && !fs::is_empty(blobs) && !fs::exists(half);
  if (fs::exists(database) || fs::exists(database.string() + "-wal") || has_blobs)
    throw Error(ErrorCode::kFailedPrecondition, "DATA_NOT_EMPTY",
                data.string() + " holds a server's data already", "data",
                "Restore into a new folder, and move the old one away.");
}

}  // namespace

Json BackupReport::to_json() const {
  return {{"jobs", jobs},   {"artifacts", artifacts},       {"blobs", blobs},
          {"bytes", bytes}, {"copied_bytes", copied_bytes}, {"epoch", epoch},
          {"lost", lost}};
}

BackupReport back_up(const fs::path& data, const fs::path& folder) {
  check_on_sqlite(data, "backup", kInstead);
  check_has_database(data);
  if (fs::exists(folder) && fs::equivalent(data, folder))
    throw Error(ErrorCode::kInvalidArgument, "SAME_FOLDER", "the backup would replace what it copies", "to");
  const FileDescriptor lock = lock_data(folder);
  const auto half = folder / "backup.db";
  copy_database(data / kDatabase, half);
  const auto report = copy_blobs(half, data, folder);
  publish(half, folder);
  return report;
}

BackupReport restore_backup(const fs::path& folder, const fs::path& data, const Clock& clock) {
  check_on_sqlite(data, "restore", kInstead);
  check_has_database(folder);
  const FileDescriptor lock = lock_data(data),
                       source_lock = is_read_only(folder) ? FileDescriptor() : lock_data(folder);
  const auto half = data / "restore.db";
  check_empty(data, half);
  copy_database(folder / kDatabase, half);
  raise_epoch(half, clock.now_ms());
  forget_stage_outputs(half);
  const auto report = copy_blobs(half, folder, data);
  note_restore(half, report, clock.now_ms());
  publish(half, data);
  return report;
}

}  // namespace wring
