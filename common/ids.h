// Names for things that are not named by their content.
#pragma once

#include <string>
#include <string_view>

namespace wring {

// `length` random characters of [0-9a-z] without the look-alikes (i, l, o, u); 12 give 60 bits.
std::string random_id(int length = 12);

// A random (version 4) UUID, the form of a request id.
std::string random_uuid();

// A request id that somebody else sent, fit to be logged; where it is empty, longer than 64 characters or has
// others than letters, digits, '-', '_' and '.', a new one.
std::string request_id_from(std::string_view sent);

// Whether `text` is a UUID as it is written: 8-4-4-4-12 hex digits, of any version and letter case.
bool is_uuid(std::string_view text);

}  // namespace wring
