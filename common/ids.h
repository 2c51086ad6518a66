// Names for things that are not named by their content.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace wring {

// `length` random characters of [0-9a-z] without the look-alikes (i, l, o, u); 12 give 60 bits.
std::string random_id(int length = 12);

// A UUID of version 7 (RFC 9562), the form of a request id: 48 bits of the clock's milliseconds, 74 random
// ones. Those of one moment lie together wherever they are kept in order.
std::string random_uuid();

// Random ids of which those that are asked for within a quarter of a second begin with the same three
// characters, for rows that are stored in the order of their ids: a batch of them goes into few pages of the
// database, where random ones go into as many as there are rows. Any thread may call.
class NeighbouringIds {
 public:
  // `now`: milliseconds of any clock.
  std::string next(std::int64_t now);

 private:
  std::mutex mutex_;
  std::string beginning_;
  std::int64_t since_ = 0;
};

// A request id that somebody else sent, fit to be logged; where it is empty, longer than 64 characters or has
// others than letters, digits, '-', '_' and '.', a new one.
std::string request_id_from(std::string_view sent);

// Whether `text` is a UUID as it is written: 8-4-4-4-12 hex digits, of any version and letter case.
bool is_uuid(std::string_view text);

}  // namespace wring
