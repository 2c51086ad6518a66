// Descriptors to schemas, rules to paths.
#include "server/http/openapi.h"

#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <set>

#include "common/error.h"
#include "common/json.h"
#include "server/auth/access.h"
#include "server/http/etag.h"
#include "server/http/rules.h"

namespace wring {

std::string_view embedded_api();  // a FileDescriptorSet of proto/wring/v1 with its comments

namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;

constexpr const char* kProblem = "application/problem+json";
constexpr const char* kBytes = "application/octet-stream";

// The protos again, from the file that has their comments: generated code has none.
class Commented {
 public:
  Commented() {
    google::protobuf::FileDescriptorSet files;
    const auto bytes = embedded_api();
    if (!files.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      throw Error(ErrorCode::kInternal, "API", "the embedded protos cannot be read");
    for (const auto& file : files.file())
      if (!pool_.BuildFile(file)) throw Error(ErrorCode::kInternal, "API", file.name() + " cannot be built");
  }

  // The comment above a thing, or behind it on its line; lines are joined.
  template <typename Described>
  std::string on(const Described& thing) const {
    google::protobuf::SourceLocation location;
    if (!thing.GetSourceLocation(&location)) return "";
    std::string text =
        location.leading_comments.empty() ? location.trailing_comments : location.leading_comments;
    std::replace(text.begin(), text.end(), '\n', ' ');
    text.erase(std::unique(text.begin(), text.end(), [](char a, char b) { return a == ' ' && b == ' '; }),
               text.end());
    const auto from = text.find_first_not_of(' ');
    return from == std::string::npos ? "" : text.substr(from, text.find_last_not_of(' ') - from + 1);
  }
  std::string on_method(const std::string& name) const { return on(*pool_.FindMethodByName(name)); }
  std::string on_message(const std::string& name) const { return on(*pool_.FindMessageTypeByName(name)); }
  std::string on_field(const FieldDescriptor& field) const {
    return on(
        *pool_.FindMessageTypeByName(field.containing_type()->full_name())->FindFieldByName(field.name()));
  }

 private:
  DescriptorPool pool_;
};

void describe(Json& schema, const std::string& text) {
  if (!text.empty()) schema["description"] = text;
}

Json reference(const std::string& schema) {
  return {{"$ref", "#/components/schemas/" + schema}};
}

Json content(const char* type, const Json& schema) {
  return {{type, {{"schema", schema}}}};
}

// Protobuf's JSON mapping: 64-bit integers are strings.
Json whole_number(const char* format, bool as_text, bool sign) {
  if (!as_text) {
    Json schema{{"type", "integer"}, {"format", format}};
    schema["minimum"] = sign ? Json(INT32_MIN) : Json(0);
    schema["maximum"] = sign ? Json(INT32_MAX) : Json(UINT32_MAX);
    return schema;
  }
  return {{"type", "string"}, {"format", format}, {"pattern", sign ? "^-?[0-9]{1,19}$" : "^[0-9]{1,20}$"}};
}

class Document {
 public:
  Json make() {
    Json paths = Json::object();
    std::set<std::string> ids;
    for (const auto& rule : http_rules()) {
      std::string verb = rule.verb;
      std::transform(verb.begin(), verb.end(), verb.begin(), [](unsigned char c) { return std::tolower(c); });
      Json operation = operation_of(rule);
      std::string id = rule.method->name();
      if (!ids.insert(id).second) id += "_" + verb;
      operation["operationId"] = id;
      paths[rule.path][verb] = std::move(operation);
    }
    add_paths_beside_the_calls(paths);
    schemas_["Problem"] = problem();
    return {{"openapi", "3.1.0"},
            {"info",
             {{"title", "Wring"},
              {"version", WRING_VERSION},
              {"description", "The compression service: the same calls as over gRPC (proto/wring/v1)."}}},
            {"servers", {{{"url", "/"}}}},
            {"security", {{{"token", Json::array()}}, {{"session", Json::array()}}, Json::object()}},
            {"paths", paths},
            {"components",
             {{"schemas", schemas_},
              {"securitySchemes",
               {{"token", {{"type", "http"}, {"scheme", "bearer"}}},
                {"session", {{"type", "apiKey"}, {"in", "cookie"}, {"name", "wring_token_PORT"}}}}}}}};
  }

 private:
  static Json problem() {
    const Json text{{"type", "string"}};
    return {{"description", "What went wrong (RFC 9457), and the way out."},
            {"type", "object"},
            {"required", {"type", "title", "status", "detail", "reason", "code"}},
            {"properties",
             {{"type", text},
              {"title", text},
              {"status", {{"type", "integer"}}},
              {"detail", text},
              {"reason", {{"type", "string"}, {"description", "Stable: what a program may look at."}}},
              {"code", {{"type", "string"}, {"description", "As in google.rpc.Code."}}},
              {"field", {{"type", "string"}, {"description", "The path of the field that is at fault."}}},
              {"hint", text},
              {"missing",
               {{"type", "array"},
                {"items", text},
                {"description", "Of MISSING_BLOBS: digests to upload, 1,000 at most at a time."}}}}}};
  }

  Json responses(const char* type, const Json& schema, bool read) const {
    Json all{
        {"200", {{"description", "Done."}, {"content", content(type, schema)}}},
        {"default", {{"description", "An error."}, {"content", content(kProblem, reference("Problem"))}}}};
    if (read) all["304"] = {{"description", "As If-None-Match has it."}};
    return all;
  }

  Json operation_of(const HttpRule& rule) {
    Json operation{{"tags", {rule.method->service()->name()}}, {"parameters", Json::array()}};
    std::string text = commented_.on_method(rule.method->full_name());
    const Access& access = access_of(rule.name);
    if (!text.empty() && !text.ends_with('.')) text += '.';
    if (access.people)
      text +=
          (text.empty() ? "" : " ") + std::string("Scope: ") + std::string(to_string(*access.people)) + ".";
    operation["description"] = text;
    for (const auto* const field : rule.bound)
      if (field) operation["parameters"].push_back(parameter(*field, "path"));
    for (const auto* const field : rule.query) operation["parameters"].push_back(parameter(*field, "query"));
    if (rule.raw_body)
      operation["requestBody"] = {{"required", true}, {"content", content(kBytes, Json::object())}};
    if (rule.body_is_request)
      operation["requestBody"] = {{"content", content("application/json", body_of(rule))}};
    operation["responses"] =
        rule.raw_response
            ? responses(kBytes, Json::object(), false)
            : responses("application/json", message(*rule.method->output_type()), rule.verb == "GET");
    return operation;
  }

  Json parameter(const FieldDescriptor& field, const char* in) {
    Json made{{"name", field.name()}, {"in", in}, {"schema", schema_of(field)}};
    if (in == std::string("path")) {
      made["required"] = true;
      made["schema"]["minLength"] = 1;
    }
    if (in == std::string("query")) {  // no call takes these
      Json& one = field.is_repeated() ? made["schema"]["items"] : made["schema"];
      if (one.contains("enum")) one["enum"].erase(one["enum"].begin());  // "unspecified"
      if (field.name() == "page_size") one["minimum"] = 0;
    }
    describe(made, commented_.on_field(field));
    return made;
  }

  // The request's members but for those that the path says.
  Json body_of(const HttpRule& rule) {
    Json schema = object_of(*rule.method->input_type());
    for (const auto* const field : rule.bound)
      if (field) schema["properties"].erase(field->name());
    return schema;
  }

  Json object_of(const Descriptor& type) {
    Json properties = Json::object();
    for (int i = 0; i < type.field_count(); ++i) {
      Json schema = schema_of(*type.field(i));
      describe(schema, commented_.on_field(*type.field(i)));
      properties[type.field(i)->name()] = std::move(schema);
    }
    Json schema{{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
    describe(schema, commented_.on_message(type.full_name()));
    return schema;
  }

  // A reference to the message's schema, which is made where it is not there yet.
  Json message(const Descriptor& type) {
    if (type.full_name() == "google.protobuf.Timestamp") return {{"type", "string"}, {"format", "date-time"}};
    if (!schemas_.contains(type.name())) {
      schemas_[type.name()] = Json::object();  // a message may hold itself
      schemas_[type.name()] = object_of(type);
    }
    return reference(type.name());
  }

  Json schema_of(const FieldDescriptor& field) {
    if (field.is_map()) {
      Json value = scalar(*field.message_type()->map_value());
      return {{"type", "object"}, {"additionalProperties", value}};
    }
    if (field.is_repeated()) return {{"type", "array"}, {"items", scalar(field)}};
    return scalar(field);
  }

  Json scalar(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return whole_number("int32", false, true);
      case FieldDescriptor::CPPTYPE_UINT32:
        return whole_number("uint32", false, false);
      case FieldDescriptor::CPPTYPE_INT64:
        return whole_number("int64", true, true);
      case FieldDescriptor::CPPTYPE_UINT64:
        return whole_number("uint64", true, false);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return {{"anyOf",
                 {{{"type", "number"}, {"format", "double"}},
                  {{"type", "string"}, {"enum", {"NaN", "Infinity", "-Infinity"}}}}}};
      case FieldDescriptor::CPPTYPE_BOOL:
        return {{"type", "boolean"}};
      case FieldDescriptor::CPPTYPE_ENUM: {
        Json names = Json::array();
        for (int i = 0; i < field.enum_type()->value_count(); ++i)
          names.push_back(field.enum_type()->value(i)->name());
        return {{"type", "string"}, {"enum", names}};
      }
      case FieldDescriptor::CPPTYPE_STRING:
        if (field.type() == FieldDescriptor::TYPE_BYTES)
          return {{"type", "string"}, {"contentEncoding", "base64"}};
        return {{"type", "string"}};
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return message(*field.message_type());
      default:
        throw Error(ErrorCode::kInternal, "API", field.full_name() + " has a type without a schema");
    }
  }

  // Files in ranges, and the browser's session: these are no calls of gRPC.
  void add_paths_beside_the_calls(Json& paths) {
    const Json text{{"type", "string"}};
    const auto in_path = [&](const char* name) {
      return Json{{"name", name}, {"in", "path"}, {"required", true}, {"schema", text}};
    };
    Json file = responses(kBytes, Json::object(), true);
    file["206"] = {{"description", "The range that was asked for."},
                   {"content", content(kBytes, Json::object())}};
    paths["/api/v1/artifacts/{digest}/files/{path}"]["get"] = {
        {"operationId", "GetFile"},
        {"tags", {"Artifacts"}},
        {"description",
         "A file of the artifact, or one range of it. Slashes of its path may stay as they are. Scope: "
         "viewer."},
        {"parameters",
         {in_path("digest"), in_path("path"), {{"name", "Range"}, {"in", "header"}, {"schema", text}}}},
        {"responses", file}};
    schemas_["Session"] = {{"type", "object"},
                           {"additionalProperties", false},
                           {"properties",
                            {{"login", {{"type", "boolean"}, {"description", "Whether a token is needed."}}},
                             {"caller", {{"type", "string"}, {"description", "Empty: not logged in."}}},
                             {"scope", text},
                             {"project", {{"type", "string"}, {"description", "Empty: all."}}}}}};
    const auto session = [&](const char* id, const char* about) {
      return Json{{"operationId", id},
                  {"tags", {"Session"}},
                  {"description", about},
                  {"security", {Json::object()}},
                  {"responses", responses("application/json", reference("Session"), false)}};
    };
    paths["/api/v1/session"]["get"] = session("GetSession", "Who the caller is.");
    Json login = session("Login", "Trades a token for a cookie that scripts and other sites cannot use.");
    const Json token{{"type", "object"}, {"required", {"token"}}, {"properties", {{"token", text}}}};
    login["requestBody"] = {{"required", true}, {"content", content("application/json", token)}};
    paths["/api/v1/login"]["post"] = login;
    Json logout = session("Logout", "Takes the cookie away.");
    logout["requestBody"] = {{"content", content("application/json", {{"type", "object"}})}};
    paths["/api/v1/logout"]["post"] = logout;
  }

  Commented commented_;
  Json schemas_ = Json::object();
};

}  // namespace

const std::string& openapi() {
  static const std::string document = Document().make().dump();
  return document;
}

const std::string& openapi_tag() {
  static const std::string tag = etag_of(openapi());
  return tag;
}

}  // namespace wring
