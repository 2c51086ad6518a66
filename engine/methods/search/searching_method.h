// What a method that tries out plans of a whole model is, beside a method.
#pragma once

#include <cstdint>

#include "engine/methods/method.h"

namespace wring {

class SearchingMethod : public Method {
 public:
  // How many tokens it runs through the whole model beside the calibration pass. Where that is not 0 it has
  // the calibration set's tokens even when their statistics are at hand.
  virtual std::int64_t searched_tokens() const = 0;

  // Of any method; 0 of one that does not search.
  static std::int64_t tokens_of(const Method& method) {
    const auto* const searching = dynamic_cast<const SearchingMethod*>(&method);
    return searching ? searching->searched_tokens() : 0;
  }
};

}  // namespace wring
