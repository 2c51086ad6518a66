// Reading a weight rep back from an artifact: the loader its format names, with the layer's name on every
// complaint.
#include "engine/model/weight_rep.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "engine/model/rep_loaders.h"

namespace wring {
namespace {

using Loader = std::shared_ptr<const WeightRep> (*)(const Json&, const TensorLookup&);
constexpr std::array<std::pair<std::string_view, Loader>, 10> kLoaders = {{
    {"dense", load_dense_rep},
    {"float4", load_float4_rep},
    {"float8", load_float8_rep},
    {"ggml", load_ggml_rep},
    {"low-rank", load_low_rank_rep},
    {"masked", load_masked_rep},
    {"packed-int", load_packed_int_rep},
    {"residual", load_residual_rep},
    {"rounded-input", load_rounded_input_rep},
    {"sum", load_sum_rep},
}};

[[noreturn]] void throw_unknown_format(const std::string& layer, const std::string& format) {
  std::vector<std::string> names;
  for (const auto& [name, loader] : kLoaders) names.emplace_back(name);
  throw Error(ErrorCode::kInvalidArgument, "BAD_WEIGHT_REP",
              "'" + format + "' is no weight format that Wring reads", layer,
              "It reads " + join(names, ", ") + ".");
}

}  // namespace

std::shared_ptr<const WeightRep> load_weight_rep(const std::string& layer, const std::string& format,
                                                 const Json& attributes, const TensorLookup& tensor) {
  const auto loader =
      std::find_if(kLoaders.begin(), kLoaders.end(), [&](const auto& l) { return l.first == format; });
  if (loader == kLoaders.end()) throw_unknown_format(layer, format);
  const TensorLookup contiguous = [&](const std::string& suffix) {
    const at::Tensor found = tensor(suffix);
    if (!found.defined())
      throw Error(ErrorCode::kInvalidArgument, "BAD_WEIGHT_REP", "its tensor '" + suffix + "' is missing");
    return found.contiguous();
  };
  try {
    return loader->second(attributes, contiguous);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kInvalidArgument) throw;
    throw Error(e.code(), "BAD_WEIGHT_REP", format + " weight: " + e.message(), layer, e.hint());
  }
}

}  // namespace wring
