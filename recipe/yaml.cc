// YAML by yaml-cpp's event parser: values are built only while they stay within bounds.
#include "recipe/yaml.h"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <cmath>
#include <sstream>
#include <utility>
#include <vector>

#include "common/error.h"

namespace wring {
namespace {

constexpr std::size_t kMaxText = 1u << 20;
constexpr int kMaxDepth = 32;

[[noreturn]] void throw_bad(const std::string& what, int line, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "MALFORMED_RECIPE", what + ": " + why, "",
              line > 0 ? "At line " + std::to_string(line) + "." : "");
}

// Deep nesting is refused before yaml-cpp, which recurses, sees it: brackets and indentation bound it.
void check_nesting(std::string_view text, const std::string& what) {
  int brackets = 0, line = 1;
  std::size_t indent = 0;
  bool at_start = true;
  for (const char c : text) {
    if (c == '\n') {
      ++line;
      indent = 0;
      at_start = true;
      continue;
    }
    if (at_start && (c == ' ' || c == '-' || c == '?')) {
      if (++indent > 16 * kMaxDepth)
        throw_bad(what, line, "nests deeper than " + std::to_string(kMaxDepth) + " levels");
      continue;
    }
    at_start = false;
    if (c == '[' || c == '{') ++brackets;
    if ((c == ']' || c == '}') && brackets > 0) --brackets;
    if (brackets > 4 * kMaxDepth)
      throw_bad(what, line, "nests deeper than " + std::to_string(kMaxDepth) + " levels");
  }
}

class Builder final : public YAML::EventHandler {
 public:
  Builder(YamlDocument& document, const std::string& what) : document_(document), what_(what) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(nullptr, mark, anchor); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw_bad(what_, mark.line + 1, "aliases are not allowed");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!open_.empty() && open_.back().container.is_object() && !open_.back().has_key) {
      open_.back().key = value;
      open_.back().has_key = true;
      if (open_.back().container.contains(value))
        throw_bad(what_, mark.line + 1, "the key '" + value.substr(0, 80) + "' stands twice");
      return;
    }
    add(tag == "?" ? plain_scalar(value) : Json(value), mark, anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Json::array(), mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Json::object(), mark, anchor);
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

  void check(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) throw_bad(what_, mark.line + 1, "anchors are not allowed");
    if (open_.size() >= static_cast<std::size_t>(kMaxDepth))
      throw_bad(what_, mark.line + 1, "nests deeper than " + std::to_string(kMaxDepth) + " levels");
    if (!open_.empty() && open_.back().container.is_object() && !open_.back().has_key)
      throw_bad(what_, mark.line + 1, "a key that is no plain word");
  }

  void add(Json value, const YAML::Mark& mark, YAML::anchor_t anchor) {
    check(mark, anchor);
    document_.lines.emplace(path_of_next(), mark.line + 1);
    put(std::move(value));
  }

  void open(Json container, const YAML::Mark& mark, YAML::anchor_t anchor) {
    check(mark, anchor);
    const auto path = path_of_next();
    document_.lines.emplace(path, mark.line + 1);
    open_.push_back({std::move(container), "", path, false});
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
};

}  // namespace

Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null") return nullptr;
  if (text == "true") return true;
  if (text == "false") return false;
  const char *begin = text.data(), *end = begin + text.size();
  std::int64_t integer = 0;
  if (const auto [rest, error] = std::from_chars(begin, end, integer); error == std::errc() && rest == end)
    return integer;
  double number = 0;
  if (const auto [rest, error] = std::from_chars(begin, end, number);
      error == std::errc() && rest == end && std::isfinite(number))
    return number;
  return text;
}

YamlDocument parse_yaml(std::string_view text, const std::string& what) {
  if (text.size() > kMaxText) throw_bad(what, 0, "is larger than 1 MiB");
  check_nesting(text, what);
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
