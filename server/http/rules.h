// The ways over HTTP into the calls, as the google.api.http annotations of proto/wring/v1 say them.
#pragma once

#include <google/protobuf/message.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/target.h"

namespace wring {

struct HttpRule {
  const google::protobuf::MethodDescriptor* method = nullptr;
  std::string name;                // of the call: "Jobs/GetJob"
  std::string verb;                // "GET"
  std::string path;                // "/api/v1/jobs/{id}"
  std::vector<std::string> parts;  // of the path, between slashes
  // Fields of the request: by part, nullptr where the part is a word; what the query may name, and what the
  // body is.
  std::vector<const google::protobuf::FieldDescriptor*> bound;
  std::vector<const google::protobuf::FieldDescriptor*> query;
  bool body_is_request = false;                                     // but for what the path binds, as JSON
  const google::protobuf::FieldDescriptor* raw_body = nullptr;      // of bytes, as they come
  const google::protobuf::FieldDescriptor* raw_response = nullptr;  // of the response, likewise

  // Whether the request carries a body.
  bool has_body() const { return body_is_request || raw_body; }
};

// In the order of the protos. Throws kInternal where an annotation is of a kind that is not served.
const std::vector<HttpRule>& http_rules();

// The rule of a request, a HEAD's as a GET's; nullptr: there is none. "GET, HEAD, POST": the verbs of a path;
// empty: no rule has this path.
const HttpRule* find_rule(std::string_view verb, const std::string& path);
std::string allowed_verbs(const std::string& path);

// The call's request: the body's members, then the query's, then the path's. Throws kInvalidArgument
// "BAD_QUERY", "UNKNOWN_PARAMETER", or as parse_into().
std::unique_ptr<google::protobuf::Message> request_of(const HttpRule& rule, const Target& target,
                                                      std::string body);

}  // namespace wring
