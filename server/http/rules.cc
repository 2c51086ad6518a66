// From descriptors to routes, and from a route's path, query and body to a message.
#include "server/http/rules.h"

#include <google/api/annotations.pb.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "common/error.h"
#include "common/text.h"
#include "server/http/message_json.h"
#include "wring/v1/artifacts.pb.h"
#include "wring/v1/evaluations.pb.h"
#include "wring/v1/jobs.pb.h"
#include "wring/v1/methods.pb.h"
#include "wring/v1/projects.pb.h"
#include "wring/v1/sweeps.pb.h"
#include "wring/v1/tokens.pb.h"
#include "wring/v1/workers.pb.h"

namespace wring {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

[[noreturn]] void refuse_rule(const google::protobuf::MethodDescriptor& method, const std::string& why) {
  throw Error(ErrorCode::kInternal, "BAD_HTTP_RULE", method.full_name() + ": " + why);
}

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at != std::string::npos && at < path.size();) {
    const auto end = path.find('/', at + 1);
    parts.push_back(path.substr(at + 1, end == std::string::npos ? end : end - at - 1));
    at = end;
  }
  return parts;
}

std::pair<std::string, std::string> verb_and_path(const google::protobuf::MethodDescriptor& method,
                                                  const google::api::HttpRule& rule) {
  switch (rule.pattern_case()) {
    case google::api::HttpRule::kGet:
      return {"GET", rule.get()};
    case google::api::HttpRule::kPost:
      return {"POST", rule.post()};
    case google::api::HttpRule::kPut:
      return {"PUT", rule.put()};
    case google::api::HttpRule::kDelete:
      return {"DELETE", rule.delete_()};
    default:
      refuse_rule(method, "a verb that is not served");
  }
}

const FieldDescriptor* bytes_field(const google::protobuf::MethodDescriptor& method,
                                   const google::protobuf::Descriptor& message, const std::string& name) {
  const auto* const field = message.FindFieldByName(name);
  if (!field || field->type() != FieldDescriptor::TYPE_BYTES)
    refuse_rule(method, name + " is no bytes field");
  return field;
}

HttpRule compile(const google::protobuf::MethodDescriptor& method, const google::api::HttpRule& from) {
  HttpRule rule;
  rule.method = &method;
  rule.name = method.service()->name() + "/" + method.name();
  std::tie(rule.verb, rule.path) = verb_and_path(method, from);
  rule.parts = parts_of(rule.path);
  const auto& request = *method.input_type();
  for (const auto& part : rule.parts) {
    const bool binds = part.starts_with('{') && part.ends_with('}');
    const auto* const field = binds ? request.FindFieldByName(part.substr(1, part.size() - 2)) : nullptr;
    if (binds && (!field || field->type() != FieldDescriptor::TYPE_STRING))
      refuse_rule(method, part + " is no string field");
    rule.bound.push_back(field);
  }
  rule.body_is_request = from.body() == "*";
  if (!rule.body_is_request && !from.body().empty())
    rule.raw_body = bytes_field(method, request, from.body());
  if (!from.response_body().empty())
    rule.raw_response = bytes_field(method, *method.output_type(), from.response_body());
  for (int i = 0; i < request.field_count() && !rule.body_is_request; ++i) {
    const auto* const field = request.field(i);
    const bool is_bound = std::find(rule.bound.begin(), rule.bound.end(), field) != rule.bound.end();
    if (!is_bound && field != rule.raw_body && field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE)
      rule.query.push_back(field);
  }
  return rule;
}

std::vector<HttpRule> compile_all() {
  std::vector<HttpRule> rules;
  for (const auto* const file :
       {v1::Job::descriptor()->file(), v1::Sweep::descriptor()->file(), v1::Artifact::descriptor()->file(),
        v1::Evaluation::descriptor()->file(), v1::Method::descriptor()->file(),
        v1::Worker::descriptor()->file(), v1::Project::descriptor()->file(), v1::Token::descriptor()->file()})
    for (int s = 0; s < file->service_count(); ++s)
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const auto& method = *file->service(s)->method(m);
        if (!method.options().HasExtension(google::api::http)) continue;
        const auto& rule = method.options().GetExtension(google::api::http);
        rules.push_back(compile(method, rule));
        for (const auto& another : rule.additional_bindings()) rules.push_back(compile(method, another));
      }
  return rules;
}

bool has_path(const HttpRule& rule, const std::vector<std::string>& parts) {
  if (rule.parts.size() != parts.size()) return false;
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (rule.bound[i] ? parts[i].empty() : parts[i] != rule.parts[i]) return false;
  return true;
}

[[noreturn]] void throw_value(const FieldDescriptor& field, const std::string& text, const std::string& what,
                              const std::string& hint = "") {
  throw Error(ErrorCode::kInvalidArgument, "BAD_QUERY", "'" + text.substr(0, 40) + "' is no " + what,
              field.name(), hint);
}

template <typename Number>
Number number(const FieldDescriptor& field, const std::string& text, const char* what) {
  Number value{};
  const auto [rest, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc() || rest != text.data() + text.size()) throw_value(field, text, what);
  return value;
}

const google::protobuf::EnumValueDescriptor* enum_value(const FieldDescriptor& field,
                                                        const std::string& text) {
  const auto* const type = field.enum_type();
  if (const auto* const value = type->FindValueByName(text)) return value;
  std::vector<std::string> names;
  for (int i = 1; i < type->value_count(); ++i) names.push_back(type->value(i)->name());
  throw_value(field, text, "value of " + field.name(), "One of " + join(names, ", ") + ".");
}

// Sets a field, or adds to it where it is repeated.
void put(Message& message, const FieldDescriptor& field, const std::string& text) {
  const auto& reflection = *message.GetReflection();
  const auto set = [&](auto add, auto assign, auto value) {
    field.is_repeated() ? (reflection.*add)(&message, &field, value)
                        : (reflection.*assign)(&message, &field, value);
  };
  using R = google::protobuf::Reflection;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return field.is_repeated() ? reflection.AddString(&message, &field, text)
                                 : reflection.SetString(&message, &field, text);
    case FieldDescriptor::CPPTYPE_INT32:
      return set(&R::AddInt32, &R::SetInt32, number<std::int32_t>(field, text, "32-bit whole number"));
    case FieldDescriptor::CPPTYPE_UINT32:
      return set(&R::AddUInt32, &R::SetUInt32, number<std::uint32_t>(field, text, "whole number below 2^32"));
    case FieldDescriptor::CPPTYPE_INT64:
      return set(&R::AddInt64, &R::SetInt64, number<std::int64_t>(field, text, "64-bit whole number"));
    case FieldDescriptor::CPPTYPE_UINT64:
      return set(&R::AddUInt64, &R::SetUInt64, number<std::uint64_t>(field, text, "whole number below 2^64"));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return set(&R::AddDouble, &R::SetDouble, number<double>(field, text, "number"));
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") throw_value(field, text, "true or false");
      return set(&R::AddBool, &R::SetBool, text == "true");
    case FieldDescriptor::CPPTYPE_ENUM:
      return set(&R::AddEnum, &R::SetEnum, enum_value(field, text));
    default:
      throw Error(ErrorCode::kInternal, "BAD_HTTP_RULE",
                  field.full_name() + " is nothing that a query can say");
  }
}

void put_query(const HttpRule& rule, const Target& target, Message& message) {
  for (const auto& [key, value] : target.query) {
    const auto it = std::find_if(rule.query.begin(), rule.query.end(),
                                 [&](const auto* field) { return field->name() == key; });
    if (it == rule.query.end()) {
      std::vector<std::string> names;
      for (const auto* const field : rule.query) names.push_back(field->name());
      throw Error(ErrorCode::kInvalidArgument, "UNKNOWN_PARAMETER",
                  "'" + key.substr(0, 40) + "' is nothing that " + rule.verb + " " + rule.path + " reads",
                  "query", names.empty() ? "It takes no parameters." : "It takes " + join(names, ", ") + ".");
    }
    put(message, **it, value);
  }
}

}  // namespace

const std::vector<HttpRule>& http_rules() {
  static const std::vector<HttpRule> rules = compile_all();
  return rules;
}

const HttpRule* find_rule(std::string_view verb, const std::string& path) {
  const auto parts = parts_of(path);
  if (verb == "HEAD") verb = "GET";
  for (const auto& rule : http_rules())
    if (rule.verb == verb && has_path(rule, parts)) return &rule;
  return nullptr;
}

std::string allowed_verbs(const std::string& path) {
  const auto parts = parts_of(path);
  std::vector<std::string> verbs;
  for (const char* verb : {"GET", "POST", "PUT", "DELETE"})
    if (std::any_of(http_rules().begin(), http_rules().end(),
                    [&](const auto& rule) { return rule.verb == verb && has_path(rule, parts); })) {
      verbs.emplace_back(verb);
      if (verbs.back() == "GET") verbs.emplace_back("HEAD");
    }
  return join(verbs, ", ");
}

std::unique_ptr<Message> request_of(const HttpRule& rule, const Target& target, std::string body) {
  std::unique_ptr<Message> message = new_message(*rule.method->input_type());
  if (rule.body_is_request) parse_into(body, *message);
  if (rule.raw_body) message->GetReflection()->SetString(message.get(), rule.raw_body, std::move(body));
  put_query(rule, target, *message);
  const auto parts = parts_of(target.path);
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (rule.bound[i]) put(*message, *rule.bound[i], parts[i]);
  return message;
}

}  // namespace wring
