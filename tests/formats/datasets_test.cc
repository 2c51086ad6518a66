// Images and arrays of data sets: what is read is what was written, and what lies or is damaged is refused by
// name.
#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "formats/datasets/arrays.h"
#include "formats/datasets/image.h"
#include "formats/datasets/inflate.h"
#include "tests/common/thrown_by.h"

namespace wring {
namespace {

std::string bytes_of(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

class DataSets : public testing::Test {
 protected:
  FileView file(const std::string& name, const std::string& bytes) {
    write_file_atomic(folder_.path() / name, bytes, Durability::kProcess);
    return FileTree::on_disk(folder_.path() / name).open(name);
  }
  // Every prefix is refused with an Error, and no byte that is turned over does worse.
  template <typename Read>
  void damage(const std::string& bytes, const Read& read) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      EXPECT_THROW((void)read(file("cut", bytes.substr(0, i))), Error) << i;
      std::string turned = bytes;
      turned[i] = static_cast<char>(turned[i] ^ 0xff);
      try {
        (void)read(file("turned", turned));
      } catch (const Error&) {
      }
    }
  }

  TempDir folder_;
};

// Of Python's zlib, 3 x 2 pixels of red, green, blue; black, grey, white.
const std::string kPng = bytes_of(
    "89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d000000164944415478da63f8cfc0c0"
    "00c30c0d0d0dffffff07003a61077b029fdff40000000049454e44ae426082");

TEST_F(DataSets, APngIsReadPixelByPixel) {
  const Image image = decode_image(file("a.png", kPng));
  EXPECT_EQ(image.width, 3u);
  EXPECT_EQ(image.height, 2u);
  EXPECT_EQ(image.channels, 3u);
  const std::vector<std::uint8_t> pixels{255, 0, 0, 0,   255, 0,   0,   0,   255,
                                         0,   0, 0, 128, 128, 128, 255, 255, 255};
  EXPECT_EQ(image.pixels, pixels);
}

// Of PIL, quality 50: 16 x 16 of grey noise; and Pillow's own values of the first row.
const std::string kJpeg = bytes_of(
    "ffd8ffe000104a46494600010100000100010000ffdb004300100b0c0e0c0a100e0d0e1211101318281a181616183123"
    "251d283a333d3c3933383740485c4e404457453738506d51575f626768673e4d71797064785c656763ffc0000b080010"
    "001001011100ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b51000020103"
    "03020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f024336272"
    "82090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475"
    "767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9"
    "cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f00b12c1713986d72f1"
    "8c292af22aac8a1b3b97cb279e57d31c1c8c026bc9146b6f1accd717569b0b32a9604ac6301768c6dc7cc7939cedcf27"
    "223b4812178dd2e1e2668e3b65cf0f09604b282d8e4641f954e03118e869658da59126453146d22c6e8acaa232138390"
    "010007624018c82307927fffd9");
const std::array<std::uint8_t, 16> kJpegRow{97, 146, 183, 221, 202, 253, 2,  191,
                                            51, 198, 228, 121, 233, 202, 15, 69};

TEST_F(DataSets, AJpegGivesThePixelsThatPillowGives) {
  const Image image = decode_image(file("a.jpg", kJpeg));
  ASSERT_EQ(image.channels, 1u);
  ASSERT_EQ(image.pixels.size(), 256u);
  EXPECT_TRUE(std::equal(kJpegRow.begin(), kJpegRow.end(), image.pixels.begin()));
}

TEST_F(DataSets, WhatIsNoImageOrEndsTooEarlyIsNamed) {
  const Error text = thrown_by([&] { (void)decode_image(file("cat.jpg", "no image at all")); });
  EXPECT_EQ(text.reason(), "BAD_IMAGE");
  EXPECT_NE(text.field().find("cat.jpg"), std::string::npos);
  damage(kPng, decode_image);
  EXPECT_EQ(
      thrown_by([&] { (void)decode_image(file("half.jpg", kJpeg.substr(0, kJpeg.size() - 40))); }).reason(),
      "BAD_IMAGE");
  damage(kJpeg.substr(0, 300), decode_image);
}

TEST_F(DataSets, AnImageOfTooManyPixelsIsRefusedBeforeAnythingIsAllocated) {
  const std::string large = bytes_of(  // 16384 x 16384
      "89504e470d0a1a0a0000000d494844520000400000004000080200000026aa87d3000000084944415478da030000"
      "0000016fddc9910000000049454e44ae426082");
  const Error error = thrown_by([&] { (void)decode_image(file("large.png", large)); });
  EXPECT_EQ(error.reason(), "BAD_IMAGE");
  EXPECT_NE(error.message().find("67108864"), std::string::npos) << error.message();
}

// numpy.savez_compressed(images=uint8 arange(12) as [2, 3, 2], labels=int64 [7, 1]).
const std::string kNpz = bytes_of(
    "504b03042d000000080000002100f5cf0ad9ffffffffffffffff0a001400696d616765732e6e7079010010008c000000"
    "0000000055000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a05e536aa8aea3a09e965f5452949817"
    "9f5f94920a12774bcc294e058a17672416a402f91a463a0ac63a0a469a3a0ab50ae4012e06462666165636760e4e2e6e"
    "00504b03042d0000000800000021000b920234ffffffffffffffff0a0014006c6162656c732e6e707901001000900000"
    "00000000004a000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9369a1aea3a09e965f54529498"
    "179f5f94920a12774bcc294e058a17672416a402f91a463a9a3a0ab50a14002e7606086084d200504b01022d032d0000"
    "00080000002100f5cf0ad9550000008c0000000a0000000000000000000000800100000000696d616765732e6e707950"
    "4b01022d032d0000000800000021000b9202344a000000900000000a00000000000000000000008001910000006c6162"
    "656c732e6e7079504b0506000000000200020070000000170100000000");

std::vector<FileTensor> read_npz(const FileView& file) {
  const NpzReader reader(file);
  std::vector<FileTensor> arrays;
  for (const auto& name : reader.names()) arrays.push_back(reader.read(name));
  return arrays;
}

TEST_F(DataSets, AnArchiveOfNumpyIsRead) {
  const auto arrays = read_npz(file("a.npz", kNpz));
  ASSERT_EQ(arrays.size(), 2u);
  EXPECT_EQ(arrays[0].name, "images");
  EXPECT_EQ(arrays[0].type, ElementType::kU8);
  EXPECT_EQ(arrays[0].shape, (std::vector<std::int64_t>{2, 3, 2}));
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(std::to_integer<std::size_t>(arrays[0].data.data[i]), i);
  EXPECT_EQ(arrays[1].type, ElementType::kI64);
  EXPECT_EQ(std::to_integer<int>(arrays[1].data.data[0]), 7);
  EXPECT_EQ(std::to_integer<int>(arrays[1].data.data[8]), 1);
}

// numpy.savez(x=uint8 "abcdef").
const std::string kStoredNpz = bytes_of(
    "504b03042d0000000000000021004e83b272ffffffffffffffff05001400782e6e707901001000860000000000000086"
    "00000000000000934e554d5059010076007b276465736372273a20277c7531272c2027666f727472616e5f6f72646572"
    "273a2046616c73652c20277368617065273a2028362c292c207d20202020202020202020202020202020202020202020"
    "20202020202020202020202020202020202020202020202020202020202020202020202020200a616263646566504b01"
    "022d032d0000000000000021004e83b2728600000086000000050000000000000000000000800100000000782e6e7079"
    "504b0506000000000100010033000000bd0000000000");

TEST_F(DataSets, ADamagedArchiveIsRefused) {
  damage(kNpz, read_npz);
  EXPECT_EQ(thrown_by([&] { (void)read_npz(file("b.npz", "nothing")); }).reason(), "BAD_NPZ");
  std::string turned = kStoredNpz;  // a value, which is nobody's length or offset
  turned[turned.find("abcdef") + 2] = 'x';
  const Error error = thrown_by([&] { (void)read_npz(file("turned.npz", turned)); });
  EXPECT_EQ(error.reason(), "BAD_NPZ");
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.field(), "x");
}

const std::string kIdx = std::string("\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x03", 16) + "abcdef";

TEST_F(DataSets, AnIdxFileIsReadGzippedOrNot) {
  for (const auto& bytes :
       {kIdx, bytes_of("1f8b08000000000002036360e0606660606002624620664e4c4a4e494d03007b0d083416000000")}) {
    const FileTensor tensor = read_idx(file("a-idx3-ubyte", bytes));
    EXPECT_EQ(tensor.shape, (std::vector<std::int64_t>{2, 1, 3}));
    EXPECT_EQ(tensor.data.text(), "abcdef");
    damage(bytes, [](const FileView& view) { return read_idx(view); });
  }
}

TEST_F(DataSets, BytesThatInflateToMoreThanIsAllowedAreRefused) {
  const std::string bomb = bytes_of(
      "1f8b0800000000000203edc13101000000c2a0f54f6d0d0fa00000000000000000000000000000000000000000000000"
      "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
      "000000000000000000000000000000000000000000000000008057037d9511d4a0860100");
  const auto inflate = [&](std::uint64_t most) {
    return inflate_bytes(std::as_bytes(std::span(bomb)), DeflateForm::kGzip, most, "bomb").size();
  };
  EXPECT_EQ(inflate(100'000), 100'000u);
  EXPECT_EQ(thrown_by([&] { (void)inflate(99'999); }).reason(), "BAD_DEFLATE");
}

}  // namespace
}  // namespace wring
