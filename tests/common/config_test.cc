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

TEST(Config, RefusesAKeyThatIsNoWordAsAnError) {
  Program program;
  for (const char* yaml : {"~: 1\n", "? [data, grpc]\n: 1\n", "? {data: grpc}\n: 1\n"}) {
    const Error error = program.refusal(yaml);
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << yaml;
    EXPECT_EQ(error.reason(), "MALFORMED_CONFIG") << yaml;
    EXPECT_THAT(error.message(), testing::HasSubstr("c.yaml:1")) << yaml;
  }
}

TEST(Config, HoldsValuesToTheOptionsOwnValidation) {
  Program program;
  int port = 1;
  program.app.add_option("--port", port)->check(CLI::Range(1, 65535));
  const Error error = program.refusal("data: /srv\n\nport: 65536\n");
  EXPECT_EQ(error.reason(), "WRONG_TYPE");
  EXPECT_EQ(error.field(), "port");
  EXPECT_THAT(error.message(), testing::HasSubstr("c.yaml:3"));
  EXPECT_EQ(port, 1);
}

TEST(Config, SetsAFlagToFalseAsToTrue) {
  Program off;
  off.insecure = true;
  off.configure("insecure-plaintext: false\n");
  EXPECT_FALSE(off.insecure);
  EXPECT_EQ(Program().refusal("insecure-plaintext: perhaps\n").field(), "insecure-plaintext");
}

TEST(Config, ListsWhatIsKnownWhereNothingIsNear) {
  Program program;
  program.app.add_option("--config", program.data);
  const Error error = program.refusal("temperature: 1\n");
  EXPECT_EQ(error.hint(), "Known: data, grpc, workers, insecure-plaintext.");
  EXPECT_EQ(program.refusal("config: other.yaml\n").reason(), "UNKNOWN_KEY");  // a file names no other file
}

TEST(Config, RefusesAKeyWithoutAValue) {
  const Error error = Program().refusal("grpc:\n");
  EXPECT_EQ(error.reason(), "WRONG_TYPE");
  EXPECT_EQ(error.field(), "grpc");
}

TEST(Config, SaysThatTheFileIsMissing) {
  Program program;
  const TempDir folder;
  try {
    apply_config(program.app, folder.path() / "none.yaml");
    ADD_FAILURE() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_THAT(error.message(), testing::HasSubstr("none.yaml"));
  }
}

}  // namespace
}  // namespace wring
