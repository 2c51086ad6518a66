// Models of the jobs that earlier releases stored.
#include "server/store/job_models.h"

#include <string>
#include <utility>
#include <vector>

#include "server/store/statement.h"
#include "wring/v1/jobs.pb.h"

namespace wring {
namespace {

constexpr int kJobsAtOnce = 1000;

// Ids and models of the jobs that follow `id`.
std::vector<std::pair<std::string, std::string>> models_after(Connection& db, const std::string& id) {
  Statement rows(db, "SELECT id, spec FROM jobs WHERE id > ? ORDER BY id LIMIT ?");
  rows.bind(id).bind(kJobsAtOnce);
  std::vector<std::pair<std::string, std::string>> models;
  v1::JobSpec spec;
  while (rows.row())
    models.emplace_back(rows.text(0), spec.ParseFromString(rows.text(1)) ? spec.model() : "");
  return models;
}

}  // namespace

void put_models(Connection& db) {
  for (auto some = models_after(db, ""); !some.empty(); some = models_after(db, some.back().first))
    for (const auto& [id, model] : some)
      Statement(db, "UPDATE jobs SET model = ? WHERE id = ?").bind(model).bind(id).run();
}

}  // namespace wring
