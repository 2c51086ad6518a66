// Messages of the API as JSON over HTTP, and their ETags.
#pragma once

#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <string>

#include "server/http/http_server.h"

namespace wring {

std::unique_ptr<google::protobuf::Message> new_message(const google::protobuf::Descriptor& type);

HttpResponse json(const google::protobuf::Message& message);

// Takes a message of the API from the body; an empty one is {}. Throws kInvalidArgument "MALFORMED_REQUEST".
void parse_into(const std::string& body, google::protobuf::Message& message);

// JSON under the tag of what it says, packed where the asker takes that; or a 304 where he has it. The tag is
// a weak one: it stands for what is said, packed or not.
HttpResponse tagged(const HttpRequest& request, const std::string& tag,
                    const std::function<std::string()>& body);
// Of the message's bytes: its JSON, which costs most, need not be made for it.
std::string tag_of(const google::protobuf::Message& message);

}  // namespace wring
