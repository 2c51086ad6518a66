// The provisioner's file, what sbatch is told, and what Slurm says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "server/provision/config.h"
#include "server/provision/slurm_queue.h"
#include "server/provision/worker_job.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

const std::string kLeast = "{max: 8, memory: 4GB, cache: /scratch/wring}";

ProvisionConfig with(const std::string& more) {
  return parse_provision_config("{max: 8, memory: 4GB, cache: /scratch/wring, " + more + "}");
}

Error refused(const std::string& more) {
  return thrown_by([&] { with(more); });
}

TEST(ProvisionConfig, HasDefaultsForAllButThreeKeys) {
  const auto config = parse_provision_config(kLeast);
  EXPECT_EQ(config.pool.min, 0u);
  EXPECT_EQ(config.pool.max, 8u);
  EXPECT_EQ(config.pool.idle_ms, 60'000);
  EXPECT_EQ(config.memory_bytes, 4'000'000'000u);
  for (const char* missing : {"{max: 8, memory: 4GB}", "{max: 8, cache: /c}", "{memory: 4GB, cache: /c}"})
    EXPECT_EQ(thrown_by([&] { parse_provision_config(missing); }).reason(), "MISSING_PARAMETER");
}

TEST(ProvisionConfig, NamesTheKeyThatIsWrong) {
  EXPECT_EQ(refused("partion: x").field(), "partion");
  EXPECT_THAT(refused("partion: x").hint(), HasSubstr("partition"));
  EXPECT_EQ(refused("min: 9").field(), "min");
  EXPECT_EQ(refused("cpus: 0").field(), "cpus");
  EXPECT_EQ(refused("time_limit: 10s").field(), "time_limit");
  EXPECT_EQ(refused("tls: certificates").reason(), "BAD_PATH");
  EXPECT_EQ(refused("server: login1").reason(), "BAD_ADDRESS");
  EXPECT_EQ(refused("idle_seconds: 1").field(), "idle_seconds");
  EXPECT_EQ(refused("notice: 2000").field(), "notice");
  EXPECT_EQ(refused("class: 'Big Box'").field(), "class");
  EXPECT_EQ(thrown_by([] { parse_provision_config("- max"); }).reason(), "MALFORMED_CONFIG");
}

TEST(ProvisionConfig, TakesOfSbatchOnlyWhatKeepsABatchJobOneWorker) {
  EXPECT_EQ(with("sbatch: ['--constraint=avx512', '--nice=100']").sbatch.size(), 2u);
  for (const char* argument :
       {"--wrap=rm", "--array=0-9", "--job-name=x", "--uid=0", "--export=ALL", "-p", "x", "--time=1"}) {
    const auto error = refused("sbatch: ['--nice=1', '" + std::string(argument) + "']");
    EXPECT_EQ(error.reason(), "BAD_ARGUMENT") << argument;
    EXPECT_EQ(error.field(), "sbatch[1]") << argument;
  }
  EXPECT_THAT(refused("sbatch: ['--time=1']").hint(), HasSubstr("time_limit"));
}

TEST(WorkerJob, IsOneTaskOfAnArrayThatIsToldToDrainBeforeItsTimeIsOver) {
  const auto config = with(
      "partition: gpu, account: lab, gres: 'gpu:a100:2', cpus: 4, time_limit: 90m, logs: /shared/logs, "
      "sbatch: ['--nice=7']");
  const auto arguments = sbatch_arguments(config, "wring-x", "s1", {3, true});
  for (const char* argument :
       {"--array=0-2", "--partition=gpu", "--account=lab", "--gres=gpu:a100:2", "--cpus-per-task=4",
        "--mem=3815M", "--time=90", "--signal=B:TERM@120", "--requeue", "--comment=s1+keep",
        "--job-name=wring-x", "--output=/shared/logs/worker-%j.log", "--nice=7"})
    EXPECT_THAT(arguments, Contains(argument));
  EXPECT_THAT(sbatch_arguments(config, "wring-x", "s1", {1, false}), Not(Contains(HasSubstr("--array"))));
  EXPECT_EQ(expected_worker(config).devices.at("cuda"), 2u);
  EXPECT_EQ(expected_worker(with("gres: 'gpu:a100:2(S:0)'")).devices.at("cuda"), 2u);
  EXPECT_EQ(expected_worker(with("gres: 'gpu:1080ti'")).devices.at("cuda"), 1u);
  EXPECT_EQ(expected_worker(with("gres: gpu")).devices.at("cuda"), 1u);
  EXPECT_EQ(expected_worker(with("gres: 'lustre:1'")).devices.count("cuda"), 0u);
}

TEST(WorkerJob, TheScriptBecomesTheWorkerAndNamesItsSecretsByTheirPaths) {
  const auto config = with("tls: /shared/it's/tls, worker: [/shared/w, --name, \"a b\"]");
  const auto script = worker_script(config, "login1:7433", false);
  EXPECT_THAT(script, HasSubstr("\nexec '/shared/w' '--name' 'a b' '--server' 'login1:7433'"));
  EXPECT_THAT(script, HasSubstr("'--tls' '/shared/it'\\''s/tls'"));
  EXPECT_THAT(script, HasSubstr("'--exit-when-idle' '60'"));
  EXPECT_THAT(script, HasSubstr("'--memory' '3600000000'"));
  EXPECT_THAT(worker_script(config, "login1:7433", true), Not(HasSubstr("--exit-when-idle")));
}

TEST(WorkerJob, IsOfTheClassesOfTheFile) {
  const auto config = with("class: [epyc, big]");
  EXPECT_THAT(worker_script(config, "login1:7433", false), HasSubstr("'--class' 'epyc,big'"));
  EXPECT_THAT(expected_worker(config).classes, testing::ElementsAre("big", "epyc"));
  EXPECT_THAT(worker_script(with("cpus: 1"), "login1:7433", false), Not(HasSubstr("--class")));
}

TEST(Slurm, JobsAreReadFromTheirLines) {
  const auto pending = parse_slurm_job("12_4|PENDING|s1+keep||Resources");
  EXPECT_EQ(pending.job.id, "12_4");
  EXPECT_EQ(pending.job.submit, "s1");
  EXPECT_TRUE(pending.job.keep);
  EXPECT_EQ(pending.job.state, BatchState::kPending);
  EXPECT_EQ(pending.reason, "Resources");
  EXPECT_EQ(parse_slurm_job("13|RUNNING|s2|n1|None").node, "n1");
  EXPECT_EQ(parse_slurm_job("13|RUNNING|s2|n1|None").job.state, BatchState::kRunning);
  EXPECT_EQ(parse_slurm_job("13|COMPLETING|s2|n1|None").job.state, BatchState::kEnding);
  EXPECT_EQ(parse_slurm_job("13|REQUEUE_HOLD|(null)||launch failed|requeued held").reason,
            "launch failed|requeued held");
}

// What Slurm 22.05 says.
TEST(Slurm, WhatTheClusterRefusesIsTheKeyOfTheFile) {
  const auto field = [](const char* said) { return slurm_error("sbatch", said).field(); };
  EXPECT_EQ(field("sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission "
                  "failed: Invalid partition name specified\n"),
            "partition");
  EXPECT_EQ(field("sbatch: error: Batch job submission failed: Invalid account or account/partition "
                  "combination specified\n"),
            "account");
  EXPECT_EQ(field("sbatch: error: Batch job submission failed: Invalid qos specification\n"), "qos");
  EXPECT_EQ(
      field("sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification\n"),
      "gres");
  EXPECT_EQ(field("sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or "
                  "exceeds some limit)\n"),
            "time_limit");
  EXPECT_EQ(field("sbatch: error: Memory specification can not be satisfied\nsbatch: error: Batch job "
                  "submission failed: Requested node configuration is not available\n"),
            "memory");
  const auto error =
      slurm_error("sbatch", "sbatch: error: Batch job submission failed: Invalid partition name specified\n");
  EXPECT_EQ(slurm_error("sbatch", "sbatch: unrecognized option '--x=1'\nTry \"sbatch --help\"\n").message(),
            "Slurm says: sbatch: unrecognized option '--x=1'");
  EXPECT_EQ(error.message(), "Slurm says: Invalid partition name specified");
  EXPECT_EQ(error.reason(), "SLURM_REFUSED");
}

TEST(Slurm, AControllerThatWasNotReachedIsToldFromOneThatDidNotAnswer) {
  const auto reason = [](const char* said) { return slurm_error("sbatch", said).reason(); };
  EXPECT_EQ(reason("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
                   "failure)\n"),
            "SLURM_AWAY");
  EXPECT_EQ(reason("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"),
            "SLURM_NO_ANSWER");
  EXPECT_EQ(reason("sbatch: error: something new\n"), "SLURM_FAILED");
}

}  // namespace
}  // namespace wring
