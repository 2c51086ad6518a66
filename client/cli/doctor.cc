// The verb doctor: what is installed, what is missing, what to do about it.
#include <sys/statvfs.h>
#include <unistd.h>

#include <memory>

#include "client/cli/completion.h"
#include "client/cli/context.h"
#include "client/cli/programs.h"
#include "common/clock.h"
#include "common/cores.h"
#include "common/text.h"
#include "recipe/spec.h"

namespace wring {
namespace {

constexpr std::uint64_t kLittleDisk = 5'000'000'000;
constexpr std::int64_t kSoonSeconds = 30 * 86'400;

enum class Verdict { kOk, kNote, kMissing };

struct Finding {
  std::string what;
  Verdict verdict = Verdict::kOk;
  std::string found;
  std::string advice;  // what to do; empty where nothing
};

std::string_view verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kNote:
      return "note";
    case Verdict::kMissing:
      return "missing";
  }
  return "";
}

Finding check_program(const std::string& name) {
  try {
    return {name, Verdict::kOk, program(name).string(), ""};
  } catch (const Error& e) {
    return {name, Verdict::kMissing, "not beside wring",
            "Build it with scripts/build and keep all programs in one folder."};
  }
}

std::string device_text(const Json& device) {
  std::string text = json_or<std::string>(device, "kind", "?") + ":" +
                     std::to_string(json_or<int>(device, "index", 0)) + " " +
                     json_or<std::string>(device, "name", "");
  if (const auto threads = json_or<int>(device, "threads", 0); threads > 0)
    text += ", " + std::to_string(threads) + " threads";
  if (const auto memory = json_or<std::uint64_t>(device, "memory_bytes", 0); memory > 0)
    text += ", " + human_bytes(memory);
  return text;
}

// Whether the engine starts (it does not where libtorch is gone), and what it computes with.
std::vector<Finding> check_engine() {
  auto found = check_program("wring-engine");
  if (found.verdict != Verdict::kOk) return {found};
  const auto [status, output] = capture({program("wring-engine").string(), "devices"}, true);
  const auto json = Json::parse(output, nullptr, false);
  if (status.code != 0 || !json.is_object())
    return {{"wring-engine", Verdict::kMissing, "does not start: " + output.substr(0, output.find('\n')),
             "libtorch is missing or another one than it was built with: run scripts/bootstrap, then "
             "scripts/build."}};
  found.found += ", version " + json_or<std::string>(json, "version", "?");
  std::vector<Finding> findings{found};
  if (const auto torch = json_or<std::string>(json, "torch", ""); !torch.empty())
    findings.push_back({"libtorch", Verdict::kOk, torch, ""});
  for (const auto& device : json.value("devices", Json::array()))
    findings.push_back({"device", Verdict::kOk, device_text(device), ""});
  if (json_or<std::string>(json, "catalogue", "") != Catalogue::embedded().digest().hex())
    findings.push_back({"catalogue", Verdict::kNote, "the engine's methods differ from this program's",
                        "Build all programs from one source."});
  return findings;
}

// What keeps engines from the network and from other processes on this machine.
Finding check_sandbox() {
  const auto [status, output] = capture({program("wring-worker").string(), "--check-sandbox"}, true);
  const auto json = Json::parse(output, nullptr, false);
  if (status.code != 0 || !json.is_object())
    return {"sandbox", Verdict::kNote, "cannot be looked at: " + output.substr(0, output.find('\n')), ""};
  std::vector<std::string> on, off;
  for (const auto& [name, taken] : json.items()) (taken.get<bool>() ? on : off).push_back(name);
  return {"sandbox", off.empty() ? Verdict::kOk : Verdict::kNote,
          join(on, ", ") + (off.empty() ? "" : "; this kernel refuses " + join(off, ", ")),
          off.empty() ? "" : "Engines run with what is allowed; docs/operations.md says what each part is."};
}

// What the server's door asks for, as far as this caller may know.
Finding check_tokens(CliContext& context) {
  const bool has_token = !context.config().token.empty();
  std::vector<v1::Token> tokens;
  try {
    tokens = context.client().tokens();
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kPermissionDenied) throw;
    return {"tokens", Verdict::kOk, "this one is no admin's: what there are is not to be seen", ""};
  }
  if (tokens.empty())
    return {"tokens", Verdict::kOk, "none: whoever reaches the server may do everything",
            has_token ? "The server takes no notice of the token that is configured." : ""};
  const auto now = SystemClock().now_ms() / 1000;
  std::size_t valid = 0, ending = 0;
  for (const auto& token : tokens) {
    if (token.has_revoke_time() || (token.has_expire_time() && token.expire_time().seconds() <= now))
      continue;
    ++valid;
    if (token.has_expire_time() && token.expire_time().seconds() <= now + kSoonSeconds) ++ending;
  }
  return {"tokens", ending > 0 ? Verdict::kNote : Verdict::kOk,
          std::to_string(valid) + " valid" +
              (ending > 0 ? ", " + std::to_string(ending) + " for less than 30 days" : ""),
          ending > 0 ? "wring tokens list says which; wring tokens create makes others." : ""};
}

std::vector<Finding> check_server(CliContext& context) {
  const auto config = context.config();
  if (config.server.empty())
    return {
        {"server", Verdict::kNote, "none configured",
         "wring up --detach starts one here; or --server, WRING_SERVER, " + client_config_path().string()}};
  const auto where = config.server + " (from " + config.source + ")";
  if (!context.client().ready(2))
    return {{"server", Verdict::kNote, where + " does not answer", "wring up --detach starts one here."}};
  try {
    const auto catalogue = context.client().catalogue_digest();
    const auto workers = context.client().workers();
    std::vector<Finding> findings{{"server", Verdict::kOk, where, ""}};
    if (catalogue != Catalogue::embedded().digest().hex())
      findings.push_back({"catalogue", Verdict::kNote, "the server's methods differ from this program's",
                          "wring methods shows this program's; update whichever is older."});
    findings.push_back({"workers", workers.empty() ? Verdict::kNote : Verdict::kOk,
                        std::to_string(workers.size()),
                        workers.empty() ? "Jobs wait until a wring-worker registers." : ""});
    findings.push_back(check_tokens(context));
    return findings;
  } catch (const Error& e) {
    return {{"server", Verdict::kNote, where + ": " + e.message(), e.hint()}};
  }
}

Finding check_dashboard() {
  const auto page = program("wring-server").parent_path().parent_path() / "share/wring/dashboard/index.html";
  if (std::filesystem::is_regular_file(page))
    return {"dashboard", Verdict::kOk, page.parent_path().string(), ""};
  return {"dashboard", Verdict::kNote, "not built: the server answers JSON alone",
          "scripts/bootstrap --dashboard installs what it needs, scripts/build builds it."};
}

Finding check_disk() {
  auto folder = default_data_dir();
  while (!std::filesystem::exists(folder) && folder.has_parent_path() && folder != folder.parent_path())
    folder = folder.parent_path();
  struct statvfs stat {};
  if (::statvfs(folder.c_str(), &stat) != 0)
    return {"disk", Verdict::kNote, "cannot look at " + folder.string(), ""};
  const auto free = static_cast<std::uint64_t>(stat.f_bavail) * stat.f_frsize;
  return {"disk", free < kLittleDisk ? Verdict::kNote : Verdict::kOk,
          human_bytes(free) + " free at " + folder.string(),
          free < kLittleDisk ? "Models take gigabytes: wring up --data DIR puts them elsewhere." : ""};
}

Finding check_machine() {
  const auto memory = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                      static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return {"machine", Verdict::kOk,
          std::to_string(usable_cores()) + " cores, " + human_bytes(memory) + " memory", ""};
}

void doctor(CliContext& context) {
  std::vector<Finding> findings{
      {"wring", Verdict::kOk,
       "version " WRING_VERSION ", " + std::to_string(Catalogue::embedded().methods().size()) + " methods",
       ""}};
  findings.push_back(check_program("wring-server"));
  if (findings.back().verdict == Verdict::kOk) findings.push_back(check_dashboard());
  findings.push_back(check_program("wring-worker"));
  const bool has_worker = findings.back().verdict == Verdict::kOk;
  for (auto& finding : check_engine()) findings.push_back(std::move(finding));
  if (has_worker) findings.push_back(check_sandbox());
  findings.push_back(check_machine());
  findings.push_back(check_disk());
  for (auto& finding : check_server(context)) findings.push_back(std::move(finding));

  Json list = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const auto& f : findings) {
    list.push_back(
        {{"what", f.what}, {"verdict", verdict_name(f.verdict)}, {"found", f.found}, {"advice", f.advice}});
    rows.push_back({std::string(verdict_name(f.verdict)), f.what, f.found});
    if (!f.advice.empty()) rows.push_back({"", "", "  " + f.advice});
    if (f.verdict == Verdict::kMissing) context.status = 1;
  }
  context.json ? context.print_json(Json{{"findings", list}, {"ok", context.status == 0}})
               : context.print(table(rows));
}

}  // namespace

void add_doctor_verbs(CLI::App& app, CliContext& context) {
  add_verb(app, "doctor", "Show what is installed, what is missing and what to do", "wring doctor")
      ->callback([&context] { doctor(context); });

  auto* verb = add_verb(app, "completion", "Print a completion script for a shell",
                        "wring completion bash > ~/.local/share/bash-completion/completions/wring");
  const auto shell = std::make_shared<std::string>();
  verb->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  verb->callback([&context, &app, shell] { context.print(completion_script(app, *shell)); });
}

}  // namespace wring
