// A program's YAML file: the same options as its flags, refused by name where they are not.
#include "common/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/files.h"

namespace wring {
namespace {

struct Program {
  CLI::App app;
  std::string data, grpc = "default";
  int workers = 1;
  bool insecure = false;

  Program() {
    app.add_option("--data", data);
    app.add_option("--grpc", grpc);
    app.add_option("--workers", workers);
    app.add_flag("--insecure-plaintext", insecure);
  }

  void configure(const std::string& yaml) {
    const TempDir folder;
    write_file_atomic(folder.path() / "c.yaml", yaml);
    apply_config(app, folder.path() / "c.yaml");
  }

  Error refusal(const std::string& yaml) {
    try {
      configure(yaml);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "was taken: " << yaml;
    return Error(ErrorCode::kUnknown, "NOTHING", "");
  }
};

TEST(Config, SetsWhatTheCommandLineLeftOut) {
  Program program;
  program.app.parse("--grpc 127.0.0.1:1");
  program.configure("data: /srv\ngrpc: 127.0.0.1:2\nworkers: 3\ninsecure-plaintext: true\n");
  EXPECT_EQ(program.data, "/srv");
  EXPECT_EQ(program.grpc, "127.0.0.1:1");
  EXPECT_EQ(program.workers, 3);
  EXPECT_TRUE(program.insecure);
}

TEST(Config, OfNothingChangesNothing) {
  Program program;
  program.configure("# empty\n");
  EXPECT_EQ(program.grpc, "default");
}

TEST(Config, NamesTheKeyItsLineAndTheNearestOne) {
  Program program;
  const auto error = program.refusal("data: /srv\ngprc: x\n");
  EXPECT_EQ(error.reason(), "UNKNOWN_KEY");
  EXPECT_EQ(error.field(), "gprc");
  EXPECT_THAT(error.message(), testing::HasSubstr("c.yaml:2"));
  EXPECT_THAT(error.hint(), testing::HasSubstr("grpc"));
}

TEST(Config, RefusesValuesThatTheFlagWouldRefuse) {
  Program program;
  EXPECT_EQ(program.refusal("workers: many\n").reason(), "WRONG_TYPE");
  EXPECT_EQ(program.refusal("workers: [1, 2]\n").field(), "workers");
  EXPECT_EQ(program.refusal("- data\n").reason(), "MALFORMED_CONFIG");
  EXPECT_EQ(program.refusal("a: [\n").reason(), "MALFORMED_CONFIG");
}

}  // namespace
}  // namespace wring
