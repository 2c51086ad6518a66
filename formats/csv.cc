// One pass over the text, record by record.
#include "formats/csv.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace wring {
namespace {

class Reader {
 public:
  Reader(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  std::vector<std::vector<std::string>> records() {
    std::vector<std::vector<std::string>> records;
    while (at_ < text_.size()) records.push_back(record());
    return records;
  }

 private:
  std::vector<std::string> record() {
    std::vector<std::string> fields{field()};
    while (take(',')) fields.push_back(field());
    if (!take('\n') && text_.substr(at_, 2) == "\r\n") at_ += 2;
    return fields;
  }

  std::string field() {
    if (take('"')) return quoted();
    const auto end = std::min(text_.find_first_of(",\n", at_), text_.size());
    const auto after =
        end > at_ && end < text_.size() && text_[end] == '\n' && text_[end - 1] == '\r' ? end - 1 : end;
    const auto start = std::exchange(at_, after);
    return std::string(text_.substr(start, after - start));
  }

  std::string quoted() {
    const auto start = at_;
    std::string value;
    for (;;) {
      const auto end = text_.find('"', at_);
      if (end == std::string_view::npos) fail(start, "a quoted field does not end");
      value += text_.substr(at_, end - at_);
      at_ = end + 1;
      if (!take('"')) break;
      value += '"';
    }
    if (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\n' && text_.substr(at_, 2) != "\r\n")
      fail(at_, "text behind a closing quote");
    return value;
  }

  bool take(char c) {
    const bool there = at_ < text_.size() && text_[at_] == c;
    if (there) ++at_;
    return there;
  }

  [[noreturn]] void fail(std::size_t at, const char* why) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    throw Error(ErrorCode::kInvalidArgument, "BAD_CSV", "line " + std::to_string(line) + ": " + why,
                std::string(what_));
  }

  std::string_view text_, what_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<std::vector<std::string>> parse_csv(std::string_view text, std::string_view what) {
  return Reader(text, what).records();
}

}  // namespace wring
