// YAML by yaml-cpp's event parser: values are built only while they stay within bounds.
#include "recipe/yaml.h"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <utility>
#include <vector>

#include "common/error.h"
#include "recipe/utf8.h"

namespace wring {
namespace {

constexpr std::size_t kMaxText = 1u << 20;
constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxValues = 100'000, kMaxKey = 256;  // they bound the paths of `lines`

[[noreturn]] void throw_bad(const std::string& what, int line, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "MALFORMED_RECIPE", why, what,
              line > 0 ? what + " line " + std::to_string(line) : "");
}

class Builder final : public YAML::EventHandler {
 public:
  Builder(YamlDocument& document, const std::string& what) : document_(document), what_(what) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(nullptr, mark, "?", anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw_bad(what_, mark.line + 1, "aliases are not allowed");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!wants_key()) {
      add(tag == "?" ? plain_scalar(value) : Json(value), mark, tag, anchor);
      return;
    }
    check_bare(mark, tag, anchor);
    if (value.size() > kMaxKey) throw_bad(what_, mark.line + 1, "a key of more than 256 bytes");
    if (open_.back().container.contains(value))
      throw_bad(what_, mark.line + 1, "the key '" + shortened(value, 80) + "' stands twice");
    open_.back().key = value;
    open_.back().has_key = true;
    document_.lines.emplace(path_of_next(), mark.line + 1);  // before the value, which may begin further down
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Json::array(), mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Json::object(), mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    Json container;
    std::string key, path;
    bool has_key = false;
  };

  std::string path_of_next() const {
    if (open_.empty()) return "";
    const Open& top = open_.back();
    if (top.container.is_array()) return top.path + "[" + std::to_string(top.container.size()) + "]";
    return top.path.empty() ? top.key : top.path + "." + top.key;
  }

  bool wants_key() const {
    return !open_.empty() && open_.back().container.is_object() && !open_.back().has_key;
  }

  // yaml-cpp gives the tag "?" to what has none, "!" to what is quoted.
  void check_bare(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != 0) throw_bad(what_, mark.line + 1, "anchors are not allowed");
    if (!tag.empty() && tag != "?" && tag != "!") throw_bad(what_, mark.line + 1, "tags are not allowed");
  }

  void begin_value(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    check_bare(mark, tag, anchor);
    if (open_.size() >= static_cast<std::size_t>(kMaxDepth))
      throw_bad(what_, mark.line + 1, "nests deeper than " + std::to_string(kMaxDepth) + " levels");
    if (wants_key()) throw_bad(what_, mark.line + 1, "a key that is no plain word");
    if (++values_ > kMaxValues) throw_bad(what_, mark.line + 1, "holds more than 100,000 values");
    document_.lines.emplace(path_of_next(), mark.line + 1);
  }

  void add(Json value, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    begin_value(mark, tag, anchor);
    put(std::move(value));
  }

  void open(Json container, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    begin_value(mark, tag, anchor);
    open_.push_back({std::move(container), "", path_of_next(), false});
  }

  void close() {
    Json value = std::move(open_.back().container);
    open_.pop_back();
    put(std::move(value));
  }

  void put(Json value) {
    if (open_.empty()) {
      document_.value = std::move(value);
      return;
    }
    Open& top = open_.back();
    if (top.container.is_array())
      top.container.push_back(std::move(value));
    else
      top.container[top.key] = std::move(value);
    top.has_key = false;
  }

  YamlDocument& document_;
  const std::string& what_;
  std::vector<Open> open_;
  std::size_t values_ = 0;
};

}  // namespace

Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char *begin = text.data(), *end = begin + text.size();
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') ++begin;
  std::int64_t integer = 0;
  if (const auto [rest, error] = std::from_chars(begin, end, integer); error == std::errc() && rest == end)
    return integer;
  double number = 0;
  if (const auto [rest, error] = std::from_chars(begin, end, number);
      error == std::errc() && rest == end && std::isfinite(number))
    return number;
  return text;
}

void check_text(std::string_view text, const std::string& what) {
  const auto at = unclean_text_at(text);
  if (at == std::string_view::npos) return;
  const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  throw_bad(what, static_cast<int>(line), "has a byte that is no UTF-8 text");
}

YamlDocument parse_yaml(std::string_view text, const std::string& what) {
  if (text.size() > kMaxText) throw_bad(what, 0, "is larger than 1 MiB");
  check_text(text, what);
  YamlDocument document;
  std::istringstream stream{std::string(text)};
  try {
    YAML::Parser parser(stream);
    Builder builder(document, what);
    parser.HandleNextDocument(builder);
    YamlDocument rest;
    Builder rest_builder(rest, what);
    if (parser.HandleNextDocument(rest_builder) && !rest.value.is_null())
      throw_bad(what, 0, "holds more than one document");
  } catch (const YAML::Exception& e) {
    throw_bad(what, e.mark.line + 1, "is not YAML: " + e.msg);
  }
  return document;
}

}  // namespace wring
