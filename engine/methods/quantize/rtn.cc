// RTN: round every weight to the nearest point of its group's grid.
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "engine/math/column_walk.h"
#include "engine/methods/quantize/grid.h"

namespace wring {
namespace {

// Codes of `weight` [out, in] on the grids already found.
void round_to_grids(const at::Tensor& weight, QuantizedWeight& quantized) {
  const std::int64_t columns = quantized.columns, group_size = quantized.group_size;
  const auto* values = weight.const_data_ptr<float>();
  auto* codes = quantized.codes.data_ptr<std::uint8_t>();
  at::parallel_for(0, (quantized.rows + kLanes - 1) / kLanes, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> w(static_cast<std::size_t>(group_size * kLanes));
    std::vector<std::uint8_t> lane_codes(w.size());
    for (std::int64_t tile = begin; tile < end; ++tile)
      for (std::int64_t group = 0; group < quantized.groups; ++group) {
        const std::int64_t row = tile * kLanes, count = std::min<std::int64_t>(kLanes, quantized.rows - row);
        const std::int64_t at = row * columns + group * group_size;
        const LaneGrids grids = quantized.grids(row, count, group);
        load_lanes(values + at, columns, count, group_size, w.data());
        round_columns(w.data(), group_size,
                      {grids.scale.data(), grids.zero.data(), quantized.spec.max_code()}, lane_codes.data());
        store_lanes(lane_codes.data(), columns, count, group_size, codes + at);
      }
  });
}

class Rtn final : public LayerMethod {
 public:
  explicit Rtn(const Params& params) : spec_(GridSpec::from(params)), field_(params.field("group_size")) {}

  void check(const Layer& layer) const override { check_group_size("rtn", spec_, layer, field_); }

  std::shared_ptr<const WeightRep> compress(const LayerInput& input, Json&) const override {
    const at::Tensor weight = input.layer.weight().decode(at::kFloat).cpu().contiguous();
    QuantizedWeight quantized(spec_, weight.size(0), weight.size(1));
    find_all_grids(weight, {}, quantized);
    round_to_grids(weight, quantized);
    return quantized.rep();
  }

 private:
  GridSpec spec_;
  std::string field_;
};

WRING_METHOD("rtn", Rtn);

}  // namespace
}  // namespace wring
