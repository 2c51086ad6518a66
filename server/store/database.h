// Where connections to a job database come from.
#pragma once

#include <memory>

#include "server/store/connection.h"

namespace wring {

// Any thread may call connect(), one the others.
class Database {
 public:
  virtual ~Database() = default;
  // Whether this process is the one that writes, from now on: false while another one does. A database file
  // is of whoever has the lock of its folder.
  virtual bool lead() { return true; }
  virtual std::unique_ptr<Connection> connect() = 0;           // one that reads
  virtual std::unique_ptr<Connection> connect_to_write() = 0;  // the newest schema is there from then on
};

}  // namespace wring
