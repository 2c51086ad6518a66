// A job's record as the JSON that its row holds.
#pragma once

#include "common/json.h"
#include "server/scheduler/scheduler.h"

namespace wring {

Json to_json(const JobRecord& record);
JobRecord record_from_json(const Json& json);

}  // namespace wring
