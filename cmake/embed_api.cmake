# Writes OUTPUT: a C++ file with the bytes of INPUT, a FileDescriptorSet, as wring::embedded_api().
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(................................................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "// Generated from proto/wring/v1/*.proto.\n#include <string_view>\n\nnamespace wring {\nnamespace {\nconst unsigned char kBytes[] = {\n${bytes}};\n}\nstd::string_view embedded_api() {\n  return {reinterpret_cast<const char*>(kBytes), sizeof(kBytes)};\n}\n}  // namespace wring\n")
