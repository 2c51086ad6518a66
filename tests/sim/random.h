// Random numbers of a world: streams of one seed are independent, so that leaving a worker or a job out does
// not change the luck of the others.
#pragma once

#include "common/random.h"

namespace wring::sim {

using wring::Random;

}  // namespace wring::sim
