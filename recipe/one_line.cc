// A small parser for calls with named arguments.
#include "recipe/one_line.h"

#include <cctype>

#include "common/error.h"
#include "recipe/utf8.h"
#include "recipe/yaml.h"

namespace wring {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return text;
}

class CallParser {
 public:
  CallParser(const std::string& text, const std::string& field) : text_(text), field_(field) {}

  Json parse(const char* kind) {
    const std::string name = word("a name");
    Json params = Json::object(), call{{kind, name}};
    skip();
    if (at_ < text_.size()) {
      expect('(');
      skip();
      while (!peek(')')) {
        const std::string key = word("a parameter's name");
        skip();
        expect('=');
        const bool lifted = key == "targets" || key == "ignore" || key == "when";
        Json& target = lifted ? call : params;
        if (target.contains(key)) fail("'" + key + "' stands twice");
        target[key] = value();
        skip();
        if (!peek(')')) expect(',');
        skip();
      }
      expect(')');
      skip();
    }
    if (at_ != text_.size()) fail("something behind the call");
    call["params"] = std::move(params);
    return call;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    throw Error(ErrorCode::kInvalidArgument, "MALFORMED_RECIPE",
                why + " at column " + std::to_string(at_ + 1) + " of '" + shortened(text_, 120) + "'", field_,
                "Write METHOD(name=value, ...), for instance gptq(bits=4, group_size=64).");
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool peek(char c) const { return at_ < text_.size() && text_[at_] == c; }
  void expect(char c) {
    if (!peek(c)) fail(std::string("'") + c + "' is missing");
    ++at_;
  }
  std::string word(const std::string& what) {
    skip();
    const auto start = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    if (at_ == start) fail(what + " is missing");
    return text_.substr(start, at_ - start);
  }
  Json value() {
    skip();
    if (peek('"') || peek('\'')) return quoted();
    if (!peek('[')) return scalar();
    ++at_;
    Json list = Json::array();
    skip();
    while (!peek(']')) {
      skip();
      list.push_back(peek('"') || peek('\'') ? quoted() : scalar());
      skip();
      if (!peek(']')) expect(',');
      skip();
    }
    ++at_;
    return list;
  }
  Json quoted() {
    const char quote = text_[at_++];
    const auto end = text_.find(quote, at_);
    if (end == std::string::npos) fail("the closing quote is missing");
    const std::string inner = text_.substr(at_, end - at_);
    at_ = end + 1;
    return inner;
  }
  Json scalar() {
    const auto start = at_;
    while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != ')' && text_[at_] != ']' &&
           text_[at_] != '(' && text_[at_] != '[')
      ++at_;
    const auto text = trimmed(std::string_view(text_).substr(start, at_ - start));
    if (peek('(') || peek('[')) fail("a bracket in a value that is not quoted");
    if (text.empty()) fail("a value is missing");
    return plain_scalar(std::string(text));
  }

  const std::string& text_;
  const std::string& field_;
  std::size_t at_ = 0;
};

}  // namespace

bool looks_like_one_line(std::string_view text) {
  text = trimmed(text);
  if (text.empty() || text.find('\n') != std::string_view::npos) return false;
  std::size_t end = 0;
  while (end < text.size() && is_word(text[end])) ++end;
  if (end == 0) return false;
  const auto rest = trimmed(text.substr(end));
  return rest.empty() || rest.front() == '(' || rest.front() == '|';
}

std::vector<std::string> split_calls(std::string_view text) {
  std::vector<std::string> parts(1);
  int depth = 0;
  char quote = 0;
  for (const char c : text) {
    if (quote) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '(' || c == '[') {
      ++depth;
    } else if (c == ')' || c == ']') {
      --depth;
    } else if (c == '|' && depth == 0) {
      parts.emplace_back();
      continue;
    }
    parts.back() += c;
  }
  for (auto& part : parts) part = std::string(trimmed(part));
  return parts;
}

Json parse_call(const std::string& text, const std::string& field, const char* kind) {
  if (text.size() > 65536)
    throw Error(ErrorCode::kInvalidArgument, "MALFORMED_RECIPE", "a call longer than 64 KiB", field);
  return CallParser(text, field).parse(kind);
}

}  // namespace wring
