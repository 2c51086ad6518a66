// Layer patterns: names, class names and re:PATTERN, on PCRE2 with bounded work.
#include "recipe/layer_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <memory>
#include <new>
#include <string_view>

#include "common/error.h"
#include "recipe/recipe.h"
#include "recipe/utf8.h"

namespace wring {
namespace {

constexpr std::uint32_t kMostSteps = 1'000'000;  // of one match; some tens of milliseconds
constexpr std::uint32_t kMostHeap = 16 * 1024;   // of one match, KiB

template <auto free_function>
struct Free {
  template <typename T>
  void operator()(T* pointer) const {
    free_function(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Free<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Free<pcre2_match_context_free>>;

[[noreturn]] void throw_bad(std::string_view pattern, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_PATTERN", "'" + shortened(pattern, 80) + "' " + why);
}

Code compile(std::string_view pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (code) return code;
  std::array<PCRE2_UCHAR, 128> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  throw_bad(pattern, std::string("is no regular expression: ") + reinterpret_cast<const char*>(text.data()) +
                         " (at character " + std::to_string(offset + 1) + ")");
}

}  // namespace

void check_layer_pattern(const std::string& pattern) {
  if (pattern.starts_with("re:")) (void)compile(std::string_view(pattern).substr(3));
}

bool pattern_matches(const std::string& pattern, const std::string& layer_name,
                     const std::string& layer_class) {
  if (!pattern.starts_with("re:")) return pattern == layer_name || pattern == layer_class;
  const auto code = compile(std::string_view(pattern).substr(3));
  const MatchContext context(pcre2_match_context_create(nullptr));
  const MatchData data(pcre2_match_data_create(1, nullptr));
  if (!context || !data) throw std::bad_alloc();
  pcre2_set_match_limit(context.get(), kMostSteps);
  pcre2_set_heap_limit(context.get(), kMostHeap);
  const int matched = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(layer_name.data()),
                                  layer_name.size(), 0, PCRE2_ANCHORED, data.get(), context.get());
  if (matched == PCRE2_ERROR_MATCHLIMIT || matched == PCRE2_ERROR_HEAPLIMIT ||
      matched == PCRE2_ERROR_DEPTHLIMIT)
    throw_bad(pattern, "takes too many steps on the layer name '" + shortened(layer_name, 80) + "'");
  return matched >= 0;
}

}  // namespace wring
