// SHA-256 against the vectors of FIPS 180-4, and the spellings of a digest.
#include "common/digest.h"

#include <gtest/gtest.h>

#include <cctype>
#include <unordered_set>

#include "common/error.h"

namespace wring {
namespace {

constexpr const char* kOfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Sha256, GivesThePublishedValues) {
  EXPECT_EQ(sha256("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc").hex(), kOfAbc);
  EXPECT_EQ(sha256(std::string(1'000'000, 'a')).hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, OfAStreamDoesNotDependOnItsPieces) {
  for (std::size_t piece : {1u, 3u, 63u, 64u, 65u, 1000u}) {
    const std::string text(1000, 'x');
    Sha256 hash;
    for (std::size_t at = 0; at < text.size(); at += piece)
      hash.update(std::string_view(text).substr(at, piece));
    EXPECT_EQ(hash.finish(), sha256(text)) << piece;
  }
}

TEST(Digest, ReadsItsOwnSpellingWithOrWithoutThePrefix) {
  EXPECT_EQ(Digest::parse(kOfAbc), sha256("abc"));
  EXPECT_EQ(Digest::parse(std::string("sha256:") + kOfAbc), sha256("abc"));
}

TEST(Digest, RefusesAnyOtherSpelling) {
  const std::string good(kOfAbc);
  for (const auto& text : {std::string(), good.substr(1), good + "0", "sha256:" + good.substr(2),
                           "md5:" + good, good.substr(1) + "g", good.substr(1) + " "}) {
    try {
      (void)Digest::parse(text);
      ADD_FAILURE() << "was taken: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.reason(), "BAD_DIGEST") << text;
    }
  }
}

TEST(Digest, IsOrderedAndHashedByItsBytes) {
  const auto a = sha256("a"), b = sha256("b");
  EXPECT_EQ(a < b, a.hex() < b.hex());
  const std::unordered_set<Digest> set{a, b, a};
  EXPECT_EQ(set.size(), 2u);
}

TEST(Sha256, GivesThePublishedValueOfMoreThanOneBlock) {
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, GoesOnWhereItWasMovedFrom) {
  Sha256 first;
  first.update("a");
  Sha256 second(std::move(first));
  second.update("b");
  Sha256 third;
  third.update("forgotten");
  third = std::move(second);
  third.update("c");
  EXPECT_EQ(third.finish().hex(), kOfAbc);
}

TEST(Digest, ReadsUpperCaseAndPrintsLowerCase) {
  std::string upper(kOfAbc);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  EXPECT_EQ(Digest::parse(upper).hex(), kOfAbc);
}

TEST(Digest, QuotesAtMostTheBeginningOfWhatItRefuses) {
  try {
    (void)Digest::parse(std::string(1'000'000, 'z'));
    ADD_FAILURE() << "was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_LT(error.message().size(), 200u);
    EXPECT_NE(error.message().find("zzz"), std::string::npos);
  }
}

}  // namespace
}  // namespace wring
