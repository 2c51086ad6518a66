// Small text: sizes and times as people read them, the nearest known name, aligned tables.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wring {

std::string human_bytes(std::uint64_t bytes);         // "98.4 MB" (powers of 1000)
std::string human_duration(double seconds);           // "0:41", "1:02:07"
std::string format_number(double value, int digits);  // fixed, `digits` after the point

// The candidate with the smallest edit distance to `name`, or "" where none is near (more than a third of its
// letters off).
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

// Joins with `separator`.
std::string join(std::span<const std::string> parts, std::string_view separator);

// Rows as a table with aligned columns, two spaces between them; the first row is the header.
std::string table(const std::vector<std::vector<std::string>>& rows);

// Whether standard output / error is a terminal that wants colours (NO_COLOR unset).
bool stdout_wants_color();
bool stderr_is_terminal();

}  // namespace wring
