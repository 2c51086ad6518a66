// Where the client takes its server and token from, and in which order.
#include "client/config.h"

#include <gtest/gtest.h>

#include <map>

#include "common/error.h"
#include "common/files.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

class ClientConfigTest : public ::testing::Test {
 protected:
  Environment environment() {
    return [this](const char* name) -> std::optional<std::string> {
      const auto it = variables_.find(name);
      return it == variables_.end() ? std::nullopt : std::optional(it->second);
    };
  }
  void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    write_file_atomic(path, text);
  }

  TempDir home_;
  std::map<std::string, std::string> variables_{{"HOME", home_.path().string()}};
};

TEST_F(ClientConfigTest, AFlagWinsOverTheEnvironmentAndThatOverTheFile) {
  write(home_.path() / ".config/wring/client.yaml", "server: file:1\ntoken: from-file\n");
  EXPECT_EQ(client_config({}, environment()).server, "file:1");
  EXPECT_EQ(client_config({}, environment()).token, "from-file");
  variables_["WRING_SERVER"] = "environment:2";
  EXPECT_EQ(client_config({}, environment()).server, "environment:2");
  EXPECT_EQ(client_config({"flag:3", "", ""}, environment()).server, "flag:3");
  EXPECT_EQ(client_config({"flag:3", "", ""}, environment()).source, "--server");
}

TEST_F(ClientConfigTest, WithoutAnyTheServiceOfWringUpIsTaken) {
  EXPECT_EQ(client_config({}, environment()).server, "");
  write(home_.path() / ".local/share/wring/endpoints.json",
        R"({"grpc":"127.0.0.1:4711","http":"127.0.0.1:4712"})");
  EXPECT_EQ(client_config({}, environment()).server, "127.0.0.1:4711");
}

TEST_F(ClientConfigTest, FoldersFollowTheXdgVariables) {
  variables_["XDG_CONFIG_HOME"] = "/c";
  variables_["XDG_DATA_HOME"] = "/d";
  EXPECT_EQ(client_config_path(environment()), "/c/wring/client.yaml");
  EXPECT_EQ(default_data_dir(environment()), "/d/wring");
}

TEST_F(ClientConfigTest, AnUnknownKeyOfTheFileIsNamed) {
  write(home_.path() / ".config/wring/client.yaml", "sever: typo:1\n");
  try {
    client_config({}, environment());
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.reason(), "BAD_CLIENT_CONFIG");
    EXPECT_NE(e.message().find("sever"), std::string::npos);
  }
}

}  // namespace
}  // namespace wring
