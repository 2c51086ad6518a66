// SQLite's own online copy, then the blobs of the copy, then a rename.
#include "server/upkeep/backup.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include "common/error.h"
#include "common/files.h"
#include "formats/manifest.h"
#include "server/blobs/disk/blob_store.h"
#include "server/store/sqlite/database.h"
#include "server/store/sqlite/statement.h"
#include "server/upkeep/data_lock.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDatabase = "wring.db";

void copy_database(const fs::path& from, const fs::path& to) {
  if (!fs::exists(from))
    throw Error(ErrorCode::kNotFound, "NO_DATA", "there is no job database " + from.string(), "data",
                "Give the folder that wring-server has as --data, or a backup of it.");
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) fs::remove(to.string() + suffix);
  const auto source = open_database(from), target = open_database(to);
  const std::unique_ptr<sqlite3_backup, decltype(&sqlite3_backup_finish)> copy(
      sqlite3_backup_init(target.get(), "main", source.get(), "main"), &sqlite3_backup_finish);
  const int code = copy ? sqlite3_backup_step(copy.get(), -1) : sqlite3_errcode(target.get());
  if (code != SQLITE_DONE) throw_sqlite(target.get(), code);
}

// Sizes by digest, of every chunk of every artifact.
std::map<Digest, std::uint64_t> blobs_of(sqlite3* database) {
  std::map<Digest, std::uint64_t> blobs;
  Statement rows(database, "SELECT manifest FROM artifacts");
  while (rows.row())
    for (const auto& file : Manifest::parse(rows.text(0)).files)
      for (const auto& chunk : file.chunks) blobs.emplace(chunk.digest, chunk.size);
  return blobs;
}

void copy_blob(BlobStore& from, BlobStore& to, const Digest& digest, std::uint64_t size) {
  BlobStore::Upload upload(to, digest, size, "backup");
  std::uint64_t skip = upload.committed();  // of a backup that was cut off
  from.read(digest, 0, 0, [&](std::span<const std::byte> piece) {
    const auto known = std::min<std::uint64_t>(skip, piece.size());
    skip -= known;
    if (known < piece.size()) upload.append(upload.committed(), piece.subspan(known));
    return true;
  });
  upload.finish();
}

std::uint64_t number(sqlite3* database, const char* sql) {
  Statement row(database, sql);
  return row.row() ? static_cast<std::uint64_t>(row.integer(0)) : 0;
}

// Copies the blobs that the database at `path` names; its rows are counted.
BackupReport copy_blobs(const fs::path& path, const fs::path& from, const fs::path& to) {
  const auto database = open_database(path);
  BackupReport report;
  report.jobs = number(database.get(), "SELECT count(*) FROM jobs");
  report.artifacts = number(database.get(), "SELECT count(*) FROM artifacts");
  report.epoch = number(database.get(), "SELECT value FROM meta WHERE key = 'epoch'");
  BlobStore source(from), target(to);
  for (const auto& [digest, size] : blobs_of(database.get())) {
    ++report.blobs;
    report.bytes += size;
    if (target.has(digest)) continue;
    copy_blob(source, target, digest, size);
    report.copied_bytes += size;
  }
  return report;
}

// Under its name from here on.
void publish(const fs::path& half, const fs::path& folder) {
  if (fs::exists(half.string() + "-wal"))  // its last connection takes it in and removes it
    throw Error(ErrorCode::kInternal, "DATABASE", half.string() + " was not closed");
  sync_path(half);
  fs::rename(half, folder / kDatabase);
  sync_path(folder);
}

}  // namespace

Json BackupReport::to_json() const {
  return {{"jobs", jobs},   {"artifacts", artifacts},       {"blobs", blobs},
          {"bytes", bytes}, {"copied_bytes", copied_bytes}, {"epoch", epoch}};
}

BackupReport back_up(const fs::path& data, const fs::path& folder) {
  if (fs::exists(folder) && fs::exists(data) && fs::equivalent(data, folder))
    throw Error(ErrorCode::kInvalidArgument, "SAME_FOLDER", "the backup would replace what it copies", "to");
  const FileDescriptor lock = lock_data(folder);
  const auto half = folder / "backup.db";
  copy_database(data / kDatabase, half);
  const auto report = copy_blobs(half, data, folder);
  publish(half, folder);
  return report;
}

BackupReport restore_backup(const fs::path& folder, const fs::path& data, const Clock& clock) {
  const FileDescriptor lock = lock_data(data);
  if (fs::exists(data / kDatabase))
    throw Error(ErrorCode::kFailedPrecondition, "DATA_NOT_EMPTY",
                data.string() + " has a job database already", "data",
                "Restore into a new folder, and move the old one away.");
  const auto half = data / "restore.db";
  copy_database(folder / kDatabase, half);
  {
    const auto database = open_database(half);
    Statement(database.get(), "UPDATE meta SET value = max(value + 1, ?) WHERE key = 'epoch'")
        .bind(static_cast<std::int64_t>(clock.now_ms() / 1000))
        .run();
  }
  const auto report = copy_blobs(half, folder, data);
  publish(half, data);
  return report;
}

}  // namespace wring
