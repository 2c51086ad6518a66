// Protobuf's JSON mapping.
#include "server/http/message_json.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>

#include <string_view>

#include "common/error.h"
#include "common/json.h"
#include "recipe/utf8.h"
#include "server/http/etag.h"
#include "server/http/pack.h"

namespace wring {
namespace {

// With its maps in the order of their keys: protobuf's own order changes from one message to the next, and
// with it the ETag of the same content would.
std::string bytes_of(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

// What a member of protobuf's `type` takes.
std::string kind_of(const std::string& type) {
  if (type == "TYPE_BOOL") return "true or false";
  if (type == "TYPE_DOUBLE" || type == "TYPE_FLOAT") return "a number";
  if (type == "TYPE_STRING") return "text";
  const auto whole = [&](std::string_view kind) {
    return std::string(kind) + " of " + (type.ends_with("32") ? "32" : "64") + " bits";
  };
  if (type.starts_with("TYPE_UINT")) return whole("a whole number from 0 on");
  if (type.starts_with("TYPE_INT")) return whole("a whole number");
  return "a " + type.substr(type.rfind('.') + 1);
}

// Protobuf says "(a.b): invalid value V for type T", "(a.b) c: Cannot find field.", "(a.b) c: Proto field is
// not repeating, cannot start list." and "(a.b): invalid value Starting an object on a scalar field for type
// c"; at the top without the place.
Error in_plain_words(std::string said, const google::protobuf::Descriptor& type) {
  constexpr std::string_view kInvalid = ": invalid value ", kType = " for type ";
  constexpr std::string_view kUnknown = ": Cannot find field.",
                             kList = ": Proto field is not repeating, cannot start list.";
  std::string place, field = "body", message = said;
  if (const auto close = said.find(')');
      said.starts_with('(') && close + 1 < said.size() && said[close + 1] != ')' &&
      (said[close + 1] == ' ' || said.compare(close + 1, kInvalid.size(), kInvalid) == 0)) {
    place = said.substr(1, close - 1);
    said = said.substr(close + (said[close + 1] == ' ' ? 2 : 1));
  }
  const auto member = [&](const std::string& name) { return place.empty() ? name : place + "." + name; };
  const auto kind = said.rfind(kType);
  if (said.ends_with(kUnknown)) {
    field = member(said.substr(0, said.size() - kUnknown.size()));
    message = "there is no such member";
  } else if (said.ends_with(kList) && said.size() > kList.size()) {
    field = member(said.substr(0, said.size() - kList.size()));
    message = "it takes one value, not a list";
  } else if (said.starts_with(kInvalid) && kind != std::string::npos) {
    const std::string value = said.substr(kInvalid.size(), kind - kInvalid.size()),
                      name = said.substr(kind + kType.size());
    const bool is_object = value == "Starting an object on a scalar field";
    if (is_object || !place.empty()) field = is_object ? member(name) : place;
    message =
        is_object ? "it takes one value, not an object" : shortened(value, 80) + " is not " + kind_of(name);
  }
  return {ErrorCode::kInvalidArgument, "MALFORMED_REQUEST", message, field,
          "The members are those of " + type.full_name() + " in proto/wring/v1."};
}

}  // namespace

std::unique_ptr<google::protobuf::Message> new_message(const google::protobuf::Descriptor& type) {
  auto* const factory = google::protobuf::MessageFactory::generated_factory();
  return std::unique_ptr<google::protobuf::Message>(factory->GetPrototype(&type)->New());
}

HttpResponse json(const google::protobuf::Message& message) {
  static auto* const types = google::protobuf::util::NewTypeResolverForDescriptorPool(
      "type", google::protobuf::DescriptorPool::generated_pool());
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  HttpResponse response;
  const auto status = google::protobuf::util::BinaryToJsonString(
      types, "type/" + message.GetDescriptor()->full_name(), bytes_of(message), &response.body, options);
  if (!status.ok()) throw Error(ErrorCode::kInternal, "JSON", std::string(status.message()));
  return response;
}

void parse_into(const std::string& body, google::protobuf::Message& message) {
  const std::string text = body.empty() ? "{}" : body;
  parse_json(text, "the body");  // bounded, and its errors say where
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message);
  if (!status.ok()) throw in_plain_words(std::string(status.message()), *message.GetDescriptor());
}

HttpResponse tagged(const HttpRequest& request, const std::string& tag,
                    const std::function<std::string()>& body) {
  HttpResponse response;
  response.headers = {{"Cache-Control", "private, no-cache"}, {"Vary", "Accept-Encoding"}};
  response = with_etag(request, std::move(response), "W/" + tag);
  if (response.status == 304) return response;
  response.body = body();
  return packed(request, std::move(response));
}

std::string tag_of(const google::protobuf::Message& message) {
  return etag_of(WRING_VERSION + bytes_of(message));
}

}  // namespace wring
