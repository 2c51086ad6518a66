// A data folder with a job database of its own: a file, or, where WRING_TEST_POSTGRESQL is the URL of a
// PostgreSQL database (scripts/prove pg), a schema there.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "common/files.h"
#include "server/store/postgres/connection.h"

namespace wring {

class DataFolder {
 public:
  DataFolder() {
    if (!on_postgresql()) return;
    static int made = 0;
    schema_ = "test_" + std::to_string(::getpid()) + "_" + std::to_string(++made);
    PostgresConnection(url()).execute("CREATE SCHEMA " + schema_);
    std::ofstream(path() / "database.yaml")
        << "postgresql: \"" << url() << "&options=-csearch_path%3D" << schema_ << "\"\nlease_seconds: 1\n";
  }
  ~DataFolder() {
    if (on_postgresql()) PostgresConnection(url()).execute("DROP SCHEMA " + schema_ + " CASCADE");
  }
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  static bool on_postgresql() { return std::getenv("WRING_TEST_POSTGRESQL") != nullptr; }
  static std::string url() { return std::getenv("WRING_TEST_POSTGRESQL"); }
  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  TempDir folder_;
  std::string schema_;
};

}  // namespace wring

// In a test of what only the database file has.
#define OF_SQLITE_ALONE() \
  if (DataFolder::on_postgresql()) GTEST_SKIP() << "of a database file"
