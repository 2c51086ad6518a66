// The verbs about artifacts: get, put, artifacts, artifact.
#include <google/protobuf/util/time_util.h>

#include <memory>

#include "client/cli/figures.h"
#include "client/cli/transfers.h"
#include "common/clock.h"
#include "common/quantity.h"
#include "common/text.h"
#include "formats/file_tree.h"
#include "formats/manifest.h"

namespace wring {

TransferBar::TransferBar(const CliContext& context, const std::string& what)
    : bar_(context.bar_options()), what_(what) {}

TransferBar::~TransferBar() {
  if (shown_ && std::uncaught_exceptions() == 0) bar_.finish(0, BarState::kDone, bar_.steps()[0].seconds);
}

TransferProgress TransferBar::sink() {
  return [this](std::uint64_t done, std::uint64_t total) {
    if (total == 0) return;
    if (!shown_) {
      bar_.plan({what_});
      bar_.start(0);
      shown_ = true;
    }
    bar_.update(0, {done, total, "bytes", "", 0, 0});
  };
}

std::string input_digest(CliContext& context, const std::string& text, const std::string& kind) {
  TransferBar bar(context, "upload " + std::filesystem::path(text).filename().string());
  return resolve_input(context.client(), text, kind, bar.sink());
}

std::pair<std::string, std::string> parse_data_input(const std::string& text) {
  const auto equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    throw Error(ErrorCode::kInvalidArgument, "BAD_DATA_INPUT", "'" + text + "' is not NAME=PATH", "--data",
                "For example --data calibration=text.txt --data test=test.txt");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

void add_data_input(std::map<std::string, std::string>& data,
                    const std::pair<std::string, std::string>& input) {
  if (!data.insert(input).second)
    throw Error(ErrorCode::kInvalidArgument, "BAD_DATA_INPUT", "'" + input.first + "' is given twice",
                "--data", "A folder of *.txt files is one input of many texts.");
}

std::string artifact_of(CliContext& context, const std::string& text) {
  const bool whole_digest = text.size() >= 64;
  if (whole_digest) return text;
  try {
    const auto job = context.client().get(text);
    if (job.state() != v1::JOB_STATE_SUCCEEDED)
      throw Error(ErrorCode::kFailedPrecondition, "NO_RESULT",
                  "job " + job.id() + " is " + state_name(job.state()) + " and has no result", "",
                  "wring watch " + job.id() + " waits for it.");
    if (job.result().empty()) {
      std::string exports;
      for (const auto& row : job.evaluations())
        if (row.suite() == "export" && exports.find(row.artifact()) == std::string::npos)
          exports += (exports.empty() ? "" : ", ") + row.artifact().substr(0, 12);
      throw Error(ErrorCode::kFailedPrecondition, "NO_RESULT", "job " + job.id() + " has made no model", "",
                  exports.empty() ? "It only measured: wring report " + job.id() + "."
                                  : "Name one of its exports: " + exports + ".");
    }
    return job.result();
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kNotFound && e.code() != ErrorCode::kInvalidArgument) throw;
  }
  return text;
}

namespace {

void get_artifact(CliContext& context, const std::string& what, const std::string& out) {
  v1::Artifact artifact;
  {
    TransferBar bar(context, "download " + what);
    artifact = context.client().download_artifact(artifact_of(context, what), out, bar.sink());
  }
  if (context.json)
    return context.print_json(
        Json{{"digest", artifact.digest()}, {"out", out}, {"total_bytes", artifact.total_bytes()}});
  context.print("sha256:" + artifact.digest() + "  " + human_bytes(artifact.total_bytes()) + "  in " + out +
                "\n");
}

// What `path` looks like: weights make a model, anything else is data.
std::string kind_of(const std::string& path) {
  for (const auto& file : FileTree::on_disk(path).paths())
    if (file.ends_with(".safetensors") || file.ends_with(".gguf") || file.ends_with(".onnx")) return "model";
  return "dataset";
}

void put_artifact(CliContext& context, const std::string& path, std::string kind, const std::string& name) {
  if (kind.empty()) kind = kind_of(path);
  Uploaded uploaded;
  {
    TransferBar bar(context, "upload " + std::filesystem::path(path).filename().string());
    uploaded = context.client().upload_tree(path, kind, name, bar.sink());
  }
  if (context.json) {
    auto json = to_json(uploaded.artifact);
    json.erase("manifest");
    json["sent_bytes"] = uploaded.sent_bytes;
    return context.print_json(json);
  }
  context.print("sha256:" + uploaded.artifact.digest() + "  " + human_bytes(uploaded.total_bytes) + "  (" +
                human_bytes(uploaded.sent_bytes) + " sent)\n");
}

void list_artifacts(CliContext& context, const std::string& kind, const std::string& name, int limit) {
  v1::ListArtifactsRequest request;
  request.set_kind(kind);
  request.set_name_contains(name);
  std::vector<v1::Artifact> all;
  do {
    request.set_page_size(std::min(1000, limit - static_cast<int>(all.size())));
    const auto page = context.client().artifacts(request);
    all.insert(all.end(), page.artifacts().begin(), page.artifacts().end());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && static_cast<int>(all.size()) < limit);
  if (context.json) {
    Json list = Json::array();
    for (const auto& artifact : all) list.push_back(to_json(artifact));
    return context.print_json(Json{{"artifacts", list}});
  }
  if (all.empty()) return context.print("no artifacts\n");
  std::vector<std::vector<std::string>> rows{
      {"ARTIFACT", "KIND", "FORMAT", "NAME", "FILES", "SIZE", "MADE BY"}};
  for (const auto& a : all)
    rows.push_back({a.digest().substr(0, 16), a.kind(), a.format(), a.name(), std::to_string(a.file_count()),
                    human_bytes(a.total_bytes()),
                    a.created_by_job().empty() ? "upload" : a.created_by_job()});
  context.print(table(rows));
}

std::string retention(const v1::Artifact& artifact) {
  if (artifact.pinned()) return "pinned";
  const auto until = to_json(artifact)["expire_time"];
  return until.is_string() ? "until " + until.get<std::string>().substr(0, 19) : "until it is discarded";
}

struct RetainFlags {
  std::string digest, expire_after, project;
  bool keep = false, pin = false;
};

void retain(CliContext& context, const RetainFlags& flags) {
  v1::SetRetentionRequest request;
  request.set_digest(flags.digest);
  request.set_pinned(flags.pin);
  request.set_project(flags.project);
  if (!flags.expire_after.empty())
    *request.mutable_expire_time() = google::protobuf::util::TimeUtil::MillisecondsToTimestamp(
        SystemClock().now_ms() +
        static_cast<std::int64_t>(1000 * parse_seconds(flags.expire_after, "--expire-after")));
  auto artifact = context.client().set_retention(request);
  artifact.clear_manifest_json();
  if (context.json) return context.print_json(to_json(artifact));
  context.print("sha256:" + artifact.digest() + "  " + retention(artifact) + "\n");
}

void discard(CliContext& context, const RetainFlags& flags) {
  context.client().remove_artifact(flags.digest, flags.project);
  if (context.json) return context.print_json(Json{{"discarded", flags.digest}});
  context.print("artifact " + flags.digest + "  discarded\n");
}

void add_copy(CLI::App& verb, RetainFlags& flags) {
  verb.add_option("DIGEST", flags.digest, "Digest, or a unique prefix of it")->required();
  verb.add_option("--project", flags.project,
                  "Whose copy; default: your project's, for an admin the only one that there is");
}

void add_retention_verbs(CLI::App& app, CliContext& context) {
  auto* retain_verb = add_verb(app, "retain", "Say how long the server keeps an artifact",
                               "wring retain 4be1f00d --expire-after 30d");
  const auto flags = std::make_shared<RetainFlags>();
  add_copy(*retain_verb, *flags);
  auto* how = retain_verb->add_option_group("how long");
  how->add_flag("--keep", flags->keep, "Until it is discarded, as all are at first");
  how->add_flag("--pin", flags->pin, "The same, and nobody can discard it");
  how->add_option("--expire-after", flags->expire_after, "From now on: 12h, 30d");
  how->require_option(1);
  retain_verb->callback([&context, flags] { retain(context, *flags); });

  auto* discard_verb =
      add_verb(app, "discard", "Delete an artifact from the server", "wring discard 4be1f00d");
  add_copy(*discard_verb, *flags);
  discard_verb->callback([&context, flags] { discard(context, *flags); });
}

void show_artifact(CliContext& context, const std::string& digest) {
  const auto artifact = context.client().artifact(artifact_of(context, digest));
  const auto measured = evaluations_of(context, artifact.digest());
  if (context.json) {
    Json json = to_json(artifact);
    json["evaluations"] = Json::array();
    for (const auto& row : measured) json["evaluations"].push_back(to_json(row));
    return context.print_json(json);
  }
  const auto manifest = Manifest::parse(artifact.manifest_json());
  std::string text =
      table({{"artifact", "sha256:" + artifact.digest()},
             {"kind", artifact.kind() + (artifact.format().empty() ? "" : ", " + artifact.format())},
             {"name", artifact.name()},
             {"size", human_bytes(manifest.total_bytes()) + " in " + std::to_string(manifest.files.size()) +
                          " files"},
             {"made by", artifact.created_by_job().empty() ? "upload" : "job " + artifact.created_by_job()},
             {"kept", retention(artifact)}});
  std::vector<std::vector<std::string>> rows{{"FILE", "SIZE", "CHUNKS"}};
  for (const auto& file : manifest.files)
    rows.push_back({file.path, human_bytes(file.size), std::to_string(file.chunks.size())});
  text += "\n" + table(rows);
  if (!manifest.metadata.empty()) text += "\n" + manifest.metadata.dump(2) + "\n";
  context.print(text + describe_figures(measured));
}

}  // namespace

void add_artifact_verbs(CLI::App& app, CliContext& context) {
  struct Flags {
    std::string what, out, kind, name;
    std::vector<std::string> words;
    int limit = 50;
  };
  const auto flags = std::make_shared<Flags>();

  auto* get = add_verb(app, "get", "Download an artifact, or the result of a job",
                       "wring get 4be1f00d --out compressed/");
  get->add_option("DIGEST_or_JOB", flags->what,
                  "Digest (or a unique prefix of it), or id of a job that has succeeded")
      ->required();
  get->add_option("--out", flags->out, "Folder to write; must not exist or be empty")->required();
  get->callback([&context, flags] { get_artifact(context, flags->what, flags->out); });

  auto* put = add_verb(app, "put", "Upload a folder or a file as an artifact", "wring put smollm2.gguf");
  put->add_option("PATH", flags->what, "Folder or file; hidden files are left out")->required();
  put->add_option("--kind", flags->kind,
                  "model, dataset, ...; default: model where there are weights, else dataset");
  put->add_option("--name", flags->name, "Label for people; default: the file's name");
  put->callback([&context, flags] { put_artifact(context, flags->what, flags->kind, flags->name); });

  auto* list = add_verb(app, "artifacts", "List artifacts, newest first", "wring artifacts --kind model");
  list->add_option("--kind", flags->kind, "Only this kind");
  list->add_option("--name", flags->name, "Only those with this in their name");
  list->add_option("--limit", flags->limit, "How many")->check(CLI::Range(1, 1000000))->capture_default_str();
  list->callback([&context, flags] { list_artifacts(context, flags->kind, flags->name, flags->limit); });

  auto* show = add_verb(app, "artifact", "Show an artifact: files, sizes, what it says of itself",
                        "wring artifact show 4be1f00d");
  show->add_option("DIGEST", flags->words, "Digest, unique prefix, or job id ('show' may stand before it)")
      ->required()
      ->expected(1, 2);
  show->callback([&context, flags] { show_artifact(context, flags->words.back()); });
  add_retention_verbs(app, context);
}

}  // namespace wring
