// Protobuf's JSON mapping.
#include "server/http/message_json.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>

#include "common/error.h"
#include "common/json.h"
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
  if (!status.ok())
    throw Error(ErrorCode::kInvalidArgument, "MALFORMED_REQUEST", std::string(status.message()), "body",
                "The members are those of " + message.GetDescriptor()->full_name() + " in proto/wring/v1.");
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
