// Messages of the API as JSON over HTTP, and their ETags.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "server/http/http_server.h"

namespace wring {

HttpResponse json(const google::protobuf::Message& message);

// Takes a message of the API from the body; an empty one is {}. Throws kInvalidArgument "MALFORMED_REQUEST".
void parse_into(const std::string& body, google::protobuf::Message& message);
template <typename Message>
Message parse(const std::string& body) {
  Message message;
  parse_into(body, message);
  return message;
}

// An answer without its body, or a 304 where the asker has what the tag names.
HttpResponse with_tag(const HttpRequest& request, const std::string& tag);
// Under a tag of the message's bytes: its JSON, which costs most, is made only where the asker lacks it.
HttpResponse tagged(const HttpRequest& request, const google::protobuf::Message& message);

}  // namespace wring
