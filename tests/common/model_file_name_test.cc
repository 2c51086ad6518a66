// Names that travel between file systems and shells.
#include "common/model_file_name.h"

#include <gtest/gtest.h>

namespace wring {
namespace {

TEST(ModelFileName, HoldsNothingThatAFileSystemOrAShellMindsAndIsNeverEmpty) {
  EXPECT_EQ(model_file_name("SmolLM2-135M"), "SmolLM2-135M");
  EXPECT_EQ(model_file_name("SmolLM2 135M.Q4_1.gguf"), "SmolLM2-135M.Q4_1");
  EXPECT_EQ(model_file_name("gptq(bits=4, group_size=64)"), "gptq-bits-4-group_size-64");
  EXPECT_EQ(model_file_name("../a/\n$(b)"), "a-b");
  EXPECT_EQ(model_file_name("-rf"), "rf");
  EXPECT_EQ(model_file_name(".hidden"), "hidden");
  EXPECT_EQ(model_file_name("\xe6\xa8\xa1"), "model");
  EXPECT_EQ(model_file_name(""), "model");
  EXPECT_EQ(model_file_name(std::string(500, 'a')).size(), 100u);
}

}  // namespace
}  // namespace wring
