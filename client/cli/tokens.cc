// The verbs of tokens: create, list, revoke.
#include <google/protobuf/util/time_util.h>

#include <cstdio>
#include <memory>

#include "client/cli/context.h"
#include "common/clock.h"
#include "common/quantity.h"
#include "common/text.h"

namespace wring {
namespace {

struct Flags {
  std::string name, scope = "submitter", project, expires, id;
  bool all_projects = false;
};

void create(CliContext& context, const Flags& flags) {
  const bool of_people = flags.scope == "submitter" || flags.scope == "viewer";
  if (of_people && flags.project.empty() && !flags.all_projects)
    throw Error(ErrorCode::kInvalidArgument, "MISSING_OPTION", "whose things may it see?", "--project",
                "The name of one project; or --all-projects.");
  v1::CreateTokenRequest request;
  request.set_name(flags.name);
  request.set_scope(flags.scope);
  request.set_project(flags.project);
  if (!flags.expires.empty())
    *request.mutable_expire_time() = google::protobuf::util::TimeUtil::MillisecondsToTimestamp(
        SystemClock().now_ms() + static_cast<std::int64_t>(1000 * parse_seconds(flags.expires, "--expires")));
  const auto made = context.client().create_token(request);
  if (context.json) {
    Json json = to_json(made.token());
    json["secret"] = made.secret();
    return context.print_json(json);
  }
  context.print(made.secret() + "\n");
  std::fprintf(stderr, "token %s: keep it now, it is not shown again\n", made.token().id().c_str());
}

std::string state_of(const v1::Token& token) {
  using google::protobuf::util::TimeUtil;
  if (token.has_revoke_time()) return "revoked " + TimeUtil::ToString(token.revoke_time());
  if (!token.has_expire_time()) return "";
  const bool over = TimeUtil::TimestampToMilliseconds(token.expire_time()) <= SystemClock().now_ms();
  return (over ? "expired " : "until ") + TimeUtil::ToString(token.expire_time());
}

void list(CliContext& context) {
  const auto tokens = context.client().tokens();
  if (context.json) {
    Json json = Json::array();
    for (const auto& token : tokens) json.push_back(to_json(token));
    return context.print_json(Json{{"tokens", json}});
  }
  std::vector<std::vector<std::string>> rows{{"TOKEN", "NAME", "SCOPE", "PROJECT", ""}};
  for (const auto& token : tokens)
    rows.push_back({token.id(), token.name(), token.scope(),
                    token.project().empty() ? "all" : token.project(), state_of(token)});
  context.print(tokens.empty() ? "there are no tokens: this server lets everybody in\n" : table(rows));
}

void revoke(CliContext& context, const std::string& id) {
  const auto token = context.client().revoke_token(id);
  if (context.json) return context.print_json(to_json(token));
  context.print("token " + token.id() + "  " + state_of(token) + "\n");
}

}  // namespace

void add_token_verbs(CLI::App& app, CliContext& context) {
  auto* tokens = add_verb(app, "tokens", "Make, list and revoke the tokens that a server asks for",
                          "wring tokens create --scope submitter --project vision --expires 90d");
  tokens->require_subcommand(1);
  const auto flags = std::make_shared<Flags>();
  auto* make = add_verb(*tokens, "create", "Make a token and print it, once",
                        "wring tokens create --scope viewer --project vision --name dashboard");
  make->add_option(
          "--scope", flags->scope,
          "viewer (reads), submitter (also submits, uploads, deletes), admin (all), worker (takes jobs, "
          "on the server's machine)")
      ->check(CLI::IsMember({"viewer", "submitter", "admin", "worker"}))
      ->capture_default_str();
  make->add_option("--project", flags->project, "The project whose jobs and artifacts it sees");
  make->add_flag("--all-projects", flags->all_projects, "It sees every project's");
  make->add_option("--name", flags->name, "Label for people");
  make->add_option("--expires", flags->expires,
                   "How long it is valid: 12h, 90d; default: until it is revoked");
  make->callback([&context, flags] { create(context, *flags); });
  add_verb(*tokens, "list", "List tokens", "wring tokens list")->callback([&context] { list(context); });
  auto* end = add_verb(*tokens, "revoke", "End a token at once", "wring tokens revoke 7h2m4k9x0c3d");
  end->add_option("TOKEN", flags->id, "Its id; worker:NAME: the certificate of that worker")->required();
  end->callback([&context, flags] { revoke(context, flags->id); });
}

}  // namespace wring
