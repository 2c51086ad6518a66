// What the rows' code asks of a job database, of whichever kind.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace wring {

// A statement that its connection has prepared. Parameters count from 1, columns from 0.
class Prepared {
 public:
  virtual ~Prepared() = default;
  virtual void bind(int parameter, std::int64_t value) = 0;
  virtual void bind(int parameter, double value) = 0;
  virtual void bind(int parameter, std::string_view value) = 0;  // text, or a blob
  virtual void bind_null(int parameter) = 0;
  virtual bool row() = 0;    // the first or next row; false at the end
  virtual void reset() = 0;  // ready to run again, without values
  virtual std::int64_t integer(int column) const = 0;
  virtual double number(int column) const = 0;
  virtual std::string text(int column) const = 0;
  virtual bool is_null(int column) const = 0;
};

// One thread at a time. Throws Error: kResourceExhausted "DISK_FULL", kDataLoss "DATABASE_CORRUPT", else
// kInternal "DATABASE".
//
// SQL is written once, in what both kinds understand: parameters are ?, or ?N where one stands more than
// once; a sum is CAST(... AS BIGINT). What SQLite has beyond it and the rows' code needs (instr, json_each,
// json_extract, unixepoch) are functions of the schema in PostgreSQL.
class Connection {
 public:
  Connection() = default;
  virtual ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  virtual void execute(const std::string& sql) = 0;  // statements without parameters and results
  virtual std::int64_t changes() const = 0;          // rows that the last statement changed
  virtual bool is_alive() const { return true; }     // whether it may be used again

  // A transaction that writes.
  virtual void begin() = 0;
  void commit() { execute("COMMIT"); }
  virtual void rollback() noexcept = 0;

  virtual bool finds_names() const { return false; }  // has job_names, an FTS5 table

 protected:
  virtual std::unique_ptr<Prepared> prepare(const std::string& sql) = 0;
  void forget_statements() { kept_.clear(); }  // before they lose their connection

 private:
  friend class Statement;
  // By SQL: those that nobody uses. Preparing takes longer than most statements run.
  std::unordered_multimap<std::string, std::unique_ptr<Prepared>> kept_;
};

}  // namespace wring
