// Labelled examples: which files are for which data, and what does not fit the network.
#include "engine/data/labelled_data.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <span>

#include "engine/data/batches.h"
#include "engine/graph/classifier.h"
#include "formats/safetensors.h"
#include "tests/common/thrown_by.h"
#include "tests/engine/small_classifier.h"

namespace wring {
namespace {

using small_classifier::kClasses;
using small_classifier::kSide;

class LabelledDataTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories((folder_.path() / name).parent_path());
    write_file_atomic(folder_.path() / name, bytes, Durability::kProcess);
  }
  FileTree files() const { return FileTree::on_disk(folder_.path()); }

  // A pair of idx files as MNIST's are named, of two examples of 1 x 1 with this label.
  void write_pair(const std::string& name, char label) {
    write(name + "-images-idx3-ubyte", std::string("\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x01\x05\x06", 18));
    write(name + "-labels-idx1-ubyte", std::string("\0\0\x08\x01\0\0\0\x02", 8) + label + label);
  }

  TempDir folder_;
};

TEST_F(LabelledDataTest, OfSeveralPairsOfIdxFilesThatOfTheNameIsRead) {
  write_pair("train", 1);
  write_pair("t10k", 2);
  write_pair("held", 3);
  const auto label = [&](const char* name) {
    return read_labelled(files(), name, {}).labels[0].item<std::int64_t>();
  };
  EXPECT_EQ(label("train"), 1);
  EXPECT_EQ(label("test"), 2);
  EXPECT_EQ(label("held"), 3);
  const Error error = thrown_by([&] { label("calibration"); });
  EXPECT_EQ(error.reason(), "BAD_DATA");
  EXPECT_EQ(error.field(), "data.calibration");
}

Batches batches_of(const at::Tensor& inputs, const std::vector<std::int64_t>& sizes) {
  return Batches({inputs, at::zeros({inputs.size(0)}, at::kLong), {}}, {{0}, {1}, "mean"}, sizes,
                 "data.train");
}

TEST(Batches, TakeAnotherNumberOfAxesButNoOtherOrderOfThem) {
  const at::Tensor inputs = at::rand({2, 3, 4});
  EXPECT_EQ(batches_of(inputs, {12}).inputs(at::zeros({1}, at::kLong)).sizes(), (at::IntArrayRef{1, 12}));
  EXPECT_EQ(batches_of(inputs, {3, -1}).inputs(at::zeros({1}, at::kLong)).sizes(),
            (at::IntArrayRef{1, 3, 4}));
  for (const std::vector<std::int64_t>& sizes :
       {std::vector<std::int64_t>{4, 3}, {-1, -1, 12}, {-1, 3, -1, 4}, {13}})
    EXPECT_EQ(thrown_by([&] { batches_of(inputs, sizes); }).reason(), "SHAPE_MISMATCH");
}

TEST(Batches, OfNumbersThatAreNoImagesAreNotVaried) {
  const auto batches = batches_of(at::rand({2, 1, 4, 4}), {1, 4, 4});
  const at::Tensor first = at::zeros({1}, at::kLong);
  EXPECT_TRUE(at::equal(batches.varied_inputs(first, {}, Random(1)), batches.inputs(first)));
  for (const auto& [augmentation, field] :
       {std::pair{Augmentation{1, false}, "shift"}, {Augmentation{0, true}, "mirror"}}) {
    const Error error = thrown_by([&] { (void)batches.varied_inputs(first, augmentation, Random(1)); });
    EXPECT_EQ(error.reason(), "NOT_IMAGES");
    EXPECT_EQ(error.field(), field);
  }
}

// An 8 x 8 grey PNG, as Pillow writes it.
const std::string kPng = [] {
  const std::string_view hex =
      "89504e470d0a1a0a0000000d4948445200000008000000080800000000e164e1570000001049444154789c63f465"
      "800026068a180017e3005d83089c260000000049454e44ae426082";
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}();

TEST_F(LabelledDataTest, FoldersThatLackAClassAreRefusedAsTheirNumbersWouldBeOthers) {
  const Graph graph(small_classifier::model());
  const Classifier classifier(graph);
  const auto read = [&] { return read_batches(classifier, files(), "train", {{0}, {1}, "mean"}); };
  write("a/1.png", kPng);
  write("b/1.png", kPng);
  const Error error = thrown_by(read);
  EXPECT_EQ(error.reason(), "MISSING_CLASSES");
  EXPECT_EQ(error.field(), "data.train");
  write("c/1.png", kPng);
  EXPECT_EQ(read().highest_label(), kClasses - 1);
}

TEST(ReadBatches, ALabelBeyondTheClassesIsRefusedHoweverLarge) {
  const Graph graph(small_classifier::model());
  const Classifier classifier(graph);
  for (const std::int64_t label : {kClasses, std::numeric_limits<std::int64_t>::max()}) {
    const TempDir folder;
    const std::vector<std::uint8_t> pixels(kSide * kSide);
    write_safetensors(folder.path(), "data",
                      {{"images",
                        ElementType::kU8,
                        {1, kSide, kSide},
                        [&] {
                          return Bytes{std::as_bytes(std::span(pixels)), nullptr};
                        }},
                       {"labels", ElementType::kI64, {1}, [&] {
                          return Bytes{std::as_bytes(std::span(&label, 1)), nullptr};
                        }}});
    const Error error = thrown_by([&] {
      (void)read_batches(classifier, FileTree::on_disk(folder.path()), "train", {{0}, {1}, "mean"});
    });
    EXPECT_EQ(error.reason(), "BAD_LABEL") << error.message();
  }
}

}  // namespace
}  // namespace wring
