// Any bytes as an image, an npz archive and an idx file: refused with an Error, or what is read fits its
// shape.
#include "formats/datasets/arrays.h"
#include "formats/datasets/image.h"
#include "tests/fuzz/fuzz.h"

namespace {

void check(const wring::FileTensor& tensor) {
  std::uint64_t bytes = wring::element_size(tensor.type);
  for (const auto size : tensor.shape) bytes *= static_cast<std::uint64_t>(size);
  wring::fuzz::require(bytes == tensor.data.data.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wring;
  const FileView file = fuzz::view_of(data, size);
  fuzz::expect_error_or_success([&] {
    const Image image = decode_image(file);
    fuzz::require(image.pixels.size() == std::uint64_t{image.width} * image.height * image.channels);
    fuzz::require(image.channels == 1 || image.channels == 3);
  });
  fuzz::expect_error_or_success([&] {
    const NpzReader reader(file);
    for (const auto& name : reader.names()) check(reader.read(name));
  });
  return fuzz::expect_error_or_success([&] { check(read_idx(file)); });
}
