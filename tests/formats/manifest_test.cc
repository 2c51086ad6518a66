// Manifests: one canonical text and digest, nothing unsafe or inconsistent taken, chunks cut by the rule.
#include "formats/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

#include "formats/safetensors.h"
#include "tests/formats/test_files.h"

namespace wring {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kMiB = 1ull << 20;

// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

const std::string kCanonical = std::string(R"({"files":[{"chunks":[{"sha256":")") + kAbc +
                               R"(","size":3}],"path":"a/b.txt","size":3}],"kind":"dataset",)"
                               R"("metadata":{"format":"text"},"version":1})";

Manifest one_file() {
  return {"dataset", {{"a/b.txt", 3, {{Digest::parse(kAbc), 3}}}}, Json{{"format", "text"}}};
}

TEST(Manifest, HasOneCanonicalTextAndItsSha256AsName) {
  EXPECT_EQ(one_file().canonical(), kCanonical);
  // printf '%s' TEXT | sha256sum
  EXPECT_EQ(one_file().digest().hex(), "95270667c098e457cfaf41c91c3c7e8ecd5dccce0112aa0496237df489582198");
  EXPECT_EQ(one_file().total_bytes(), 3u);
}

TEST(Manifest, ReadsBackFromItsTextWhateverTheSpacesAndKeyOrder) {
  EXPECT_EQ(Manifest::parse(kCanonical), one_file());
  EXPECT_EQ(Manifest::parse(parse_json(kCanonical, "text").dump(4)), one_file());
  const std::string reordered =
      std::string(R"({"version":1,"kind":"dataset","metadata":{"format":"text"},"files":)") +
      R"([{"size":3,"path":"a/b.txt","chunks":[{"size":3,"sha256":")" + kAbc + R"("}]}]})";
  EXPECT_EQ(Manifest::parse(reordered).digest(), one_file().digest());
}

// The canonical text with `change` applied to its JSON.
Error refusal(const std::function<void(Json&)>& change) {
  Json json = parse_json(kCanonical, "text");
  change(json);
  return error_of([&] { (void)Manifest::parse(json.dump()); });
}

TEST(Manifest, WithAnUnsafePathIsRefused) {
  for (const char* path : {"../b", "/etc/passwd", "a/../b", "a//b", "./a", "a\\b", "a\nb", "", "a/"}) {
    const Error error = refusal([&](Json& json) { json["files"][0]["path"] = path; });
    EXPECT_EQ(error.reason(), "BAD_MANIFEST") << path;
    EXPECT_EQ(error.field(), "files[0].path") << path;
  }
}

TEST(Manifest, WhosePathsAreNotSortedAndUniqueIsRefused) {
  const Error twice = refusal([](Json& json) { json["files"].push_back(json["files"][0]); });
  EXPECT_EQ(twice.field(), "files[1].path");
  const Error unsorted = refusal([](Json& json) {
    json["files"].push_back(json["files"][0]);
    json["files"][1]["path"] = "a/a.txt";
  });
  EXPECT_THAT(unsorted.message(), HasSubstr("not sorted"));
}

TEST(Manifest, WhoseChunksDoNotAddUpOrAreOutOfBoundsIsRefused) {
  EXPECT_EQ(refusal([](Json& json) { json["files"][0]["size"] = 4; }).field(), "files[0].size");
  EXPECT_EQ(refusal([](Json& json) { json["files"][0]["chunks"][0]["size"] = 0; }).field(),
            "files[0].chunks[0].size");
  EXPECT_EQ(refusal([](Json& json) { json["files"][0]["chunks"][0]["size"] = 64 * kMiB + 1; }).field(),
            "files[0].chunks[0].size");
  EXPECT_EQ(refusal([](Json& json) { json["files"][0]["chunks"] = nullptr; }).field(), "files[0].chunks");
}

TEST(Manifest, OfUnknownKindVersionOrMembersIsRefused) {
  EXPECT_EQ(refusal([](Json& json) { json["kind"] = "film"; }).field(), "kind");
  EXPECT_EQ(refusal([](Json& json) { json["version"] = 2; }).field(), "version");
  EXPECT_EQ(refusal([](Json& json) { json["metadata"] = "x"; }).field(), "metadata");
  // Members that its digest would not cover.
  EXPECT_EQ(refusal([](Json& json) { json["host"] = "x"; }).reason(), "BAD_MANIFEST");
  EXPECT_EQ(refusal([](Json& json) { json["files"][0]["mode"] = 7; }).reason(), "BAD_MANIFEST");
  EXPECT_EQ(refusal([](Json& json) { json["files"][0]["size"] = 3.5; }).reason(), "BAD_MEMBER");
  EXPECT_EQ(refusal([](Json& json) { json["files"][0]["chunks"][0]["sha256"] = "abc"; }).reason(),
            "BAD_DIGEST");
}

TEST(ChunkSizes, WithoutTensorsAreSixteenMebibytesAndARest) {
  EXPECT_THAT(chunk_sizes(0, {}), IsEmpty());
  EXPECT_THAT(chunk_sizes(1, {}), ElementsAre(1));
  EXPECT_THAT(chunk_sizes(16 * kMiB, {}), ElementsAre(16 * kMiB));
  EXPECT_THAT(chunk_sizes(33 * kMiB, {}), ElementsAre(16 * kMiB, 16 * kMiB, kMiB));
}

TEST(ChunkSizes, CutAtTensorsThatAreLargeEnough) {
  const std::vector<std::uint64_t> starts{2 * kMiB, 5 * kMiB};
  EXPECT_THAT(chunk_sizes(9 * kMiB, starts), ElementsAre(2 * kMiB, 3 * kMiB, 4 * kMiB));
}

TEST(ChunkSizes, JoinSmallPiecesToTheChunkBeforeThemWhileItStaysBelowAMebibyte) {
  const std::vector<std::uint64_t> starts{1'000'000, 1'040'000, 1'080'000, 1'120'000};
  EXPECT_THAT(chunk_sizes(1'150'000, starts), ElementsAre(1'040'000, 110'000));
}

TEST(ChunkSizes, BeginAChunkAtEachLargePieceWhateverLiesBeforeIt) {
  const std::vector<std::uint64_t> starts{100, 200, 100'000, 150'000};
  EXPECT_THAT(chunk_sizes(250'000, starts), ElementsAre(200, 149'800, 100'000));
}

TEST(ChunkSizes, NeverJoinAPieceToTheRestOfASplitOne) {
  const std::vector<std::uint64_t> starts{17 * kMiB - 50'000};
  EXPECT_THAT(chunk_sizes(17 * kMiB, starts), ElementsAre(16 * kMiB, kMiB - 50'000, 50'000));
}

TEST(ChunkSizes, AddUpForStartsOutsideOrTwice) {
  const std::vector<std::uint64_t> starts{0, 2 * kMiB, 2 * kMiB, 99 * kMiB};
  const auto sizes = chunk_sizes(3 * kMiB, starts);
  EXPECT_THAT(sizes, ElementsAre(2 * kMiB, kMiB));
}

// A file of 30 layers of SmolLM2's shapes in 4 bits; one of them may be of 3 bits and other values.
Manifest thirty_layers(int other_layer) {
  TempDir folder;
  std::vector<TensorToWrite> tensors;
  for (int layer = 0; layer < 30; ++layer)
    for (const auto& [name, weights] : {std::pair{"input_norm", 576 * 4},
                                        {"q", 576 * 576},
                                        {"k", 576 * 192},
                                        {"v", 576 * 192},
                                        {"o", 576 * 576},
                                        {"post_norm", 576 * 4},
                                        {"gate", 576 * 1536},
                                        {"up", 576 * 1536},
                                        {"down", 576 * 1536}}) {
      const bool other = layer == other_layer;
      const std::int64_t bytes = weights * (other ? 3 : 4) / 8;
      const auto seed =
          static_cast<unsigned>(100 * layer + (other ? 5000 : 0) + static_cast<int>(tensors.size() % 9));
      tensors.push_back(
          {"layers." + std::to_string(layer) + "." + name, ElementType::kU8, {bytes}, [bytes, seed] {
             std::mt19937_64 random(seed);
             const auto words = std::make_shared<std::vector<std::uint64_t>>(bytes / 8 + 1);
             std::generate(words->begin(), words->end(), random);
             return Bytes{std::as_bytes(std::span(*words)).first(static_cast<std::size_t>(bytes)), words};
           }});
    }
  write_safetensors(folder.path(), "model", tensors);
  return build_manifest(folder.path(), "model");
}

TEST(BuildManifest, OfTwoModelsThatShareAllLayersButOneStoresThatOneAgainAndLittleBesides) {
  const Manifest base = thirty_layers(-1);
  std::set<Digest> known;
  for (const auto& chunk : base.files[0].chunks) known.insert(chunk.digest);
  const std::uint64_t layer_bytes = base.total_bytes() / 30;
  for (const int other : {0, 17, 29}) {
    std::uint64_t stored = 0;
    const Manifest changed = thirty_layers(other);
    for (const auto& chunk : changed.files[0].chunks)
      if (!known.contains(chunk.digest)) stored += chunk.size;
    EXPECT_GE(stored, layer_bytes * 3 / 4);
    EXPECT_LE(stored, layer_bytes + 2 * kMiB) << "layer " << other;
  }
}

TEST(BuildManifest, HashesEveryFileInOrderAndCutsSafetensorsAtTensors) {
  TempDir folder;
  std::filesystem::create_directories(folder.path() / "a");
  write_file_atomic(folder.path() / "a" / "b.txt", "abc");
  write_file_atomic(folder.path() / "empty", "");
  write_file_atomic(folder.path() / "not.safetensors", "abc");
  const std::vector<std::byte> content(2 * kMiB);
  const auto data = [&] { return Bytes{content, nullptr}; };
  const std::vector<std::int64_t> shape{2 * kMiB};
  write_safetensors(folder.path(), "model",
                    {{"x", ElementType::kU8, shape, data}, {"y", ElementType::kU8, shape, data}});
  const Manifest manifest = build_manifest(folder.path(), "model");
  ASSERT_EQ(manifest.files.size(), 4u);
  EXPECT_EQ(manifest.files[0].path, "a/b.txt");
  EXPECT_EQ(manifest.files[0].chunks[0].digest.hex(), kAbc);
  EXPECT_THAT(manifest.files[1].chunks, IsEmpty());
  EXPECT_EQ(manifest.files[2].path, "model.safetensors");
  EXPECT_EQ(manifest.files[2].chunks.size(), 3u);  // header, x, y
  EXPECT_EQ(manifest.files[2].chunks[1], manifest.files[2].chunks[2]);
  EXPECT_EQ(manifest.files[3].chunks.size(), 1u);
  EXPECT_EQ(Manifest::parse(manifest.canonical()), manifest);
}

}  // namespace
}  // namespace wring
