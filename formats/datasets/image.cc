// JPEG and PNG by libjpeg and libpng. Both leave by longjmp, so that between setjmp and the end of a function
// nothing is made that has a destructor: pixels belong to the caller.
#include "formats/datasets/image.h"

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>

#include "common/error.h"

namespace wring {
namespace {

// Why a library gave up.
struct Failure {
  std::jmp_buf jump;
  char text[256] = "";
};

[[noreturn]] void give_up(Failure& failure, const char* why) {
  std::snprintf(failure.text, sizeof failure.text, "%s", why);
  std::longjmp(failure.jump, 1);
}

void check_size(Failure& failure, std::uint64_t width, std::uint64_t height) {
  if (width == 0 || height == 0 || width > kMostImageSide || height > kMostImageSide ||
      width * height > kMostImagePixels)
    give_up(failure, "its sides are 0, or beyond 16384, or its pixels beyond 67108864");
}

struct JpegErrors {
  jpeg_error_mgr manager;  // first: libjpeg hands back its address
  Failure failure;
};

void on_jpeg_error(j_common_ptr state) {
  auto& errors = *reinterpret_cast<JpegErrors*>(state->err);
  char text[JMSG_LENGTH_MAX];
  state->err->format_message(state, text);
  give_up(errors.failure, text);
}

// A picture that ends too early would be filled up with grey.
void on_jpeg_message(j_common_ptr state, int level) {
  const int code = state->err->msg_code;
  if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) on_jpeg_error(state);
}

bool read_jpeg(const Bytes& bytes, Image& image, Failure& failure, bool& cmyk) {
  jpeg_decompress_struct state{};
  JpegErrors errors{};
  state.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = on_jpeg_error;
  errors.manager.emit_message = on_jpeg_message;
  if (setjmp(errors.failure.jump)) {
    std::memcpy(failure.text, errors.failure.text, sizeof failure.text);
    jpeg_destroy_decompress(&state);
    return false;
  }
  jpeg_create_decompress(&state);
  jpeg_mem_src(&state, reinterpret_cast<const unsigned char*>(bytes.data.data()), bytes.data.size());
  jpeg_read_header(&state, TRUE);
  check_size(errors.failure, state.image_width, state.image_height);
  cmyk = state.num_components == 4;
  if (cmyk) give_up(errors.failure, "its colours are CMYK");
  state.out_color_space = state.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(&state);
  image.width = state.output_width;
  image.height = state.output_height;
  image.channels = static_cast<std::uint32_t>(state.output_components);
  const std::size_t row_bytes = std::size_t{image.width} * image.channels;
  image.pixels.resize(row_bytes * image.height);
  while (state.output_scanline < state.output_height) {
    JSAMPROW row = image.pixels.data() + row_bytes * state.output_scanline;
    jpeg_read_scanlines(&state, &row, 1);
  }
  jpeg_finish_decompress(&state);
  jpeg_destroy_decompress(&state);
  return true;
}

struct PngInput {
  const std::byte* at;
  std::size_t left;
};

void read_png_bytes(png_structp png, png_bytep into, std::size_t count) {
  auto& input = *static_cast<PngInput*>(png_get_io_ptr(png));
  if (count > input.left) png_error(png, "the file ends too early");
  std::memcpy(into, input.at, count);
  input.at += count;
  input.left -= count;
}

void on_png_error(png_structp png, png_const_charp why) {
  give_up(*static_cast<Failure*>(png_get_error_ptr(png)), why);
}

void on_png_warning(png_structp, png_const_charp) {}

// As 8 bits of grey, or of red, green and blue.
void transform_png(png_structp png, png_infop info) {
  png_set_expand(png);
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

bool read_png(const Bytes& bytes, Image& image, std::vector<png_bytep>& rows, Failure& failure) {
  PngInput input{bytes.data.data(), bytes.data.size()};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &failure, on_png_error, on_png_warning);
  if (!png) return false;
  png_infop info = png_create_info_struct(png);
  if (!info || setjmp(failure.jump)) {
    png_destroy_read_struct(&png, &info, nullptr);
    return false;
  }
  png_set_read_fn(png, &input, read_png_bytes);
  png_set_user_limits(png, kMostImageSide, kMostImageSide);
  png_read_info(png, info);
  check_size(failure, png_get_image_width(png, info), png_get_image_height(png, info));
  transform_png(png, info);
  image.width = png_get_image_width(png, info);
  image.height = png_get_image_height(png, info);
  image.channels = png_get_channels(png, info);
  const std::size_t row_bytes = png_get_rowbytes(png, info);
  if (row_bytes != std::size_t{image.width} * image.channels) give_up(failure, "its rows are not of bytes");
  image.pixels.resize(row_bytes * image.height);
  rows.resize(image.height);
  for (std::uint32_t i = 0; i < image.height; ++i) rows[i] = image.pixels.data() + row_bytes * i;
  png_read_image(png, rows.data());
  png_read_end(png, nullptr);
  png_destroy_read_struct(&png, &info, nullptr);
  return true;
}

[[noreturn]] void throw_bad(const FileView& file, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_IMAGE", "not a readable image: " + why, file.name(),
              "Images are JPEG or PNG files.");
}

}  // namespace

Image decode_image(const FileView& file) {
  const Bytes bytes = file.read_all();
  Image image;
  Failure failure;
  if (bytes.text().starts_with("\xff\xd8\xff")) {
    bool cmyk = false;
    if (read_jpeg(bytes, image, failure, cmyk)) return image;
    if (cmyk)
      throw Error(ErrorCode::kUnimplemented, "UNSUPPORTED_IMAGE", failure.text, file.name(),
                  "Convert it to RGB.");
    throw_bad(file, failure.text);
  }
  if (bytes.text().starts_with("\x89PNG")) {
    std::vector<png_bytep> rows;
    if (read_png(bytes, image, rows, failure)) return image;
    throw_bad(file, failure.text);
  }
  throw_bad(file, "it begins as neither JPEG nor PNG");
}

}  // namespace wring
