// The API as an OpenAPI 3.1 document, made of the protos: their annotations, their messages, their comments.
#pragma once

#include <string>

namespace wring {

const std::string& openapi();      // JSON; made once
const std::string& openapi_tag();  // its ETag

}  // namespace wring
