// The report of a job and the comparison of two: figures paired, units said, nothing invented.
#include "client/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wring {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Json row(const char* suite, const char* metric, double value, const char* unit, const char* when) {
  return {{"suite", suite}, {"metric", metric}, {"value", value}, {"unit", unit}, {"when", when}};
}

TEST(PairMetrics, PutsTheMeasurementBeforeAndTheOneAfterOfAMetricIntoOneEntry) {
  const auto metrics = pair_metrics({row("perplexity", "perplexity", 23.94, "", "before"),
                                     row("perplexity", "perplexity", 26.5, "", "after")});
  ASSERT_EQ(metrics.size(), 1u);
  EXPECT_EQ(metrics[0].before->value, 23.94);
  EXPECT_EQ(metrics[0].result->value, 26.5);
}

TEST(PairMetrics, TakesTheBaselineOfARowWhereNothingWasMeasuredBefore) {
  auto after = row("size", "artifact_bytes", 73.1e6, "bytes", "after");
  after["baseline_value"] = 98.4e6;
  const auto metrics = pair_metrics(Json::array({after}));
  ASSERT_TRUE(metrics.at(0).before);
  EXPECT_EQ(metrics[0].before->value, 98.4e6);
}

TEST(PairMetrics, KeepsTwoRunsOfOneSuiteApart) {
  const auto metrics = pair_metrics(
      {row("perplexity", "perplexity", 20, "", "before"), row("perplexity", "perplexity", 30, "", "before"),
       row("perplexity", "perplexity", 21, "", "after"), row("perplexity", "perplexity", 33, "", "after")});
  ASSERT_EQ(metrics.size(), 2u);
  EXPECT_EQ(metrics[0].result->value, 21);
  EXPECT_EQ(metrics[1].before->value, 30);
  EXPECT_EQ(metrics[1].result->value, 33);
}

TEST(PairMetrics, ShowsTheNewestStageWhereNothingWasMeasuredAfterTheLast) {
  const auto metrics = pair_metrics(
      {row("perplexity", "perplexity", 24, "", "0"), row("perplexity", "perplexity", 25, "", "1")});
  EXPECT_EQ(metrics.at(0).result->value, 25);
  EXPECT_FALSE(metrics[0].before);
}

TEST(JobReport, SaysAChangeWithItsOwnErrorWhereWindowsWerePaired) {
  auto after = row("perplexity", "perplexity", 26.5, "", "after");
  after["baseline_value"] = 23.94;
  EXPECT_THAT(job_report({{"evaluations", {after}}, {"stages", Json::array()}}), Not(HasSubstr("+2.56")));
  after["change_stderr"] = 0.12;
  EXPECT_THAT(job_report({{"evaluations", {after}}, {"stages", Json::array()}}), HasSubstr("+2.560 +- 0.12"));
}

TEST(FormatValue, SaysTheUnitAsAPersonReadsIt) {
  EXPECT_EQ(format_value(98'400'000, "bytes"), "98.4 MB");
  EXPECT_EQ(format_value(0.0123, "s"), "12.30 ms");
  EXPECT_EQ(format_value(81.04, "tokens/s"), "81.04 tok/s");
  EXPECT_EQ(format_value(23.9404, ""), "23.94");
  EXPECT_EQ(format_value(0.03112, ""), "0.03112");
  EXPECT_EQ(format_value(1234.56, ""), "1235");
}

TEST(FormatFigure, PutsTheStandardErrorBesideTheValue) {
  EXPECT_EQ(format_figure({23.94, 0.31}, ""), "23.94 +- 0.31");
  EXPECT_EQ(format_figure({91.2, 0.4}, "%"), "91.20 +- 0.4 %");
}

Json finished_job() {
  auto kl = row("perplexity", "kl_mean", 0.0312, "", "after");
  auto agreement = row("perplexity", "top1_agreement", 0.912, "", "after");
  auto sample = row("sample", "text", 12, "tokens", "after");
  sample["text"] = "The state of the Union is\nstrong";
  return {{"id", "k3f9"},
          {"name", "smollm2-75pct"},
          {"seed", 7},
          {"artifact_digest", std::string(64, 'a')},
          {"stages", {{{"name", "gptq"}, {"state", "done"}, {"seconds", 62.0}, {"peak_bytes", 900'000'000}}}},
          {"evaluations",
           {row("size", "artifact_bytes", 98.4e6, "bytes", "before"),
            row("size", "artifact_bytes", 73.1e6, "bytes", "after"),
            row("perplexity", "perplexity", 23.94, "", "before"),
            row("perplexity", "perplexity", 26.5, "", "after"), kl, agreement, sample}}};
}

TEST(JobReport, AnswersWhatWasHandedInWhatCameOutWhatItCostAndWhereItLies) {
  const auto report = job_report(finished_job());
  for (const char* part :
       {"98.4 MB", "73.1 MB", "74 %", "23.94", "26.50", "KL 0.03120", "top-1 agreement 91.20 %", "gptq",
        "1:02", "peak 900.0 MB", "seed 7", "k3f9", "wring get aaaaaaaaaaaa --out DIR", "strong"})
    EXPECT_THAT(report, HasSubstr(part));
}

TEST(JobReport, NamesTheFolderOfALocalRunInsteadOfADownload) {
  auto job = finished_job();
  job["out"] = "compressed/";
  EXPECT_THAT(job_report(job), HasSubstr("in compressed/"));
  EXPECT_THAT(job_report(job), Not(HasSubstr("wring get")));
}

TEST(JobReport, OfAJobWithoutMeasurementsHasNoTableOfThem) {
  const auto report = job_report({{"id", "k3f9"}, {"artifact_digest", std::string(64, 'a')}});
  EXPECT_THAT(report, Not(HasSubstr("handed in")));
  EXPECT_THAT(report, HasSubstr("k3f9"));
}

TEST(JobReport, GivesTheSpeedAsAFactorThatIsAboveOneWhenTheResultIsFaster) {
  Json job{{"evaluations",
            {row("latency", "forward_seconds", 0.02, "s", "before"),
             row("latency", "forward_seconds", 0.01, "s", "after")}}};
  EXPECT_THAT(job_report(job), HasSubstr("2.00x as fast"));
}

Json node_row(const char* suite, const char* metric, const char* when, Json nodes) {
  return {{"suite", suite}, {"metric", metric}, {"value", 1},
          {"unit", ""},     {"when", when},     {"details", {{"nodes", std::move(nodes)}}}};
}

TEST(JobReport, ListsTheNodesOfAGraphThatTakeMostTimeWithAllThatWasMeasuredOfThem) {
  Json early = Json::array({{{"node", "gone"}, {"operation", "Conv"}, {"macs", 9}}});
  Json macs = Json::array({{{"node", "quick"}, {"operation", "Conv"}, {"macs", 4096}},
                           {{"node", "slow"}, {"operation", "Gemm"}, {"macs", 512}}});
  Json seconds = Json::array({{{"node", "quick"}, {"operation", "Conv"}, {"seconds", 1e-3}},
                              {{"node", "slow"}, {"operation", "Gemm"}, {"seconds", 3e-3}}});
  for (int i = 0; i < 10; ++i)
    seconds.push_back({{"node", "small" + std::to_string(i)}, {"operation", "Relu"}, {"seconds", 0}});
  Json job = finished_job();
  job["evaluations"] =
      Json::array({node_row("size", "macs", "before", early), node_row("size", "macs", "after", macs),
                   node_row("latency", "forward_seconds", "after", seconds)});
  const auto report = job_report(job);
  EXPECT_THAT(report, testing::ContainsRegex("slow +Gemm +3 ms +75.0 % +512 *\n"
                                             "quick +Conv +1 ms +25.0 % +4096 *\n"));
  EXPECT_THAT(report, HasSubstr("and 2 nodes more: --json\n"));
  EXPECT_THAT(report, Not(HasSubstr("gone")));
}

TEST(Comparison, GivesTheDifferenceOfTheSecondToTheFirst) {
  auto a = finished_job(), b = finished_job();
  b["evaluations"][3]["value"] = 25.5;
  const auto rows = comparison_json(a, b);
  const auto ppl =
      std::find_if(rows.begin(), rows.end(), [](const Json& r) { return r["metric"] == "perplexity"; });
  ASSERT_NE(ppl, rows.end());
  EXPECT_EQ((*ppl)["delta"], -1.0);
  EXPECT_THAT(comparison(a, b), HasSubstr("-3.8 %"));
}

TEST(Comparison, LeavesTheDifferenceOutWhereOneJobDidNotMeasure) {
  Json empty{{"id", "b"}};
  for (const auto& entry : comparison_json(finished_job(), empty)) {
    EXPECT_TRUE(entry["b"].is_null());
    EXPECT_TRUE(entry["delta"].is_null());
  }
}

TEST(JobReport, SaysWhatTheStagesCacheSaved) {
  const auto stage = [](const char* name, const char* where, std::uint64_t bytes, double saved) {
    return Json{{"name", name},          {"state", *where ? "cached" : "done"},
                {"seconds", 1},          {"key", "ab"},
                {"cached_in", where},    {"cached_bytes", bytes},
                {"saved_seconds", saved}};
  };
  Json job{{"id", "k3f9"}, {"stages", Json::array()}};
  job["stages"].push_back(stage("gptq", "", 0, 0));
  EXPECT_THAT(job_report(job), Not(HasSubstr("saved")));
  job["stages"].push_back(stage("wanda", "project", 269'000'000, 35));
  job["stages"].push_back(stage("rtn", "worker", 1'000'000, 0));
  const auto report = job_report(job);
  EXPECT_THAT(report, HasSubstr("cached, 269.0 MB of another worker, 0:35 saved"));
  EXPECT_THAT(report, HasSubstr("1 steps of this worker, 1 of others, 1 made; 270.0 MB and 0:35 saved"));
}

}  // namespace
}  // namespace wring
