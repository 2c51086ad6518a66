// The normalisation steps.
#include "engine/text/normalizer.h"

#include "engine/text/bert_unicode.h"

namespace wring {
namespace {

// `text` without the code points that `drop` names.
template <typename Drop>
std::string filtered(std::string_view text, Drop drop) {
  std::string kept;
  kept.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto [c, bytes] = code_point_at(text, i);
    if (!drop(c)) kept.append(text.substr(i, bytes));
    i += bytes;
  }
  return kept;
}

std::string cleaned(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto [c, bytes] = code_point_at(text, i);
    const bool line = c == '\t' || c == '\n' || c == '\r';
    const bool dropped = c == 0 || c == 0xFFFD || (!line && is_bert_control(c));
    if (!dropped && is_white_space(c)) {
      clean += ' ';
    } else if (!dropped) {
      clean.append(text.substr(i, bytes));
    }
    i += bytes;
  }
  return clean;
}

std::string with_ideographs_apart(std::string_view text) {
  std::string apart;
  apart.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto [c, bytes] = code_point_at(text, i);
    const bool ideograph = is_ideograph(c);
    if (ideograph) apart += ' ';
    apart.append(text.substr(i, bytes));
    if (ideograph) apart += ' ';
    i += bytes;
  }
  return apart;
}

struct Apply {
  std::string text;

  void operator()(NormalForm form) { text = normalized(text, form); }
  void operator()(LowercaseStep) { text = lowercased(text); }
  void operator()(StripAccentsStep) { text = filtered(text, is_mark); }
  void operator()(const BertStep& bert) {
    if (bert.clean_text) text = cleaned(text);
    if (bert.handle_chinese_chars) text = with_ideographs_apart(text);
    if (bert.strip_accents) text = filtered(normalized(text, NormalForm::kNfd), is_bert_accent);
    if (bert.lowercase) text = lowercased(text);
  }
};

}  // namespace

std::string Normalizer::normalize(std::string_view utf8) const {
  Apply apply{std::string(utf8)};
  for (const auto& step : steps_) std::visit(apply, step);
  return std::move(apply.text);
}

}  // namespace wring
