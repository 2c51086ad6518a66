// A weight that is a sum, taken apart.
#pragma once

#include <memory>
#include <vector>

#include "engine/model/weight_rep.h"

namespace wring {

// The parts of sum_rep(); of any other weight itself.
std::vector<std::shared_ptr<const WeightRep>> terms_of(std::shared_ptr<const WeightRep> rep);

}  // namespace wring
