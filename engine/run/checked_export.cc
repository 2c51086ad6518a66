// The exporter's word is not taken: another process reads the files.
#include "engine/run/checked_export.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "common/digest.h"
#include "common/error.h"
#include "common/files.h"
#include "common/model_file_name.h"
#include "common/text.h"
#include "engine/export/asked_bytes.h"
#include "engine/export/exporter.h"
#include "engine/export/meaning.h"
#include "engine/export/unread_tensors.h"
#include "engine/model/companions.h"
#include "engine/model/load.h"
#include "engine/run/fresh_process.h"
#include "engine/run/hardware.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

void check_token(const std::string& text, const Json& id, std::int64_t rows) {
  if (!id.is_number_integer() || id.get<std::int64_t>() < rows) return;
  throw Error(ErrorCode::kInvalidArgument, "VOCABULARY_MISMATCH",
              "the token '" + text.substr(0, 80) + "' has the id " + id.dump() + ", the embedding " +
                  std::to_string(rows) + " rows",
              "tokenizer.json", "Model and tokenizer do not belong together.");
}

// What reads the export would ask for rows that are not there.
void check_vocabulary(const Model& model, const FileTree& source) {
  if (!source.has("tokenizer.json")) return;  // a GGUF's has as many tokens as rows
  const Json tokenizer = tokenizer_json(source);
  const std::int64_t rows = model.vocabulary_size();
  const Json::json_pointer vocabulary("/model/vocab");
  if (tokenizer.contains(vocabulary) && tokenizer.at(vocabulary).is_object())
    for (const auto& [text, id] : tokenizer.at(vocabulary).items()) check_token(text, id, rows);
  if (!tokenizer.contains("added_tokens")) return;
  for (const Json& token : tokenizer.at("added_tokens"))
    if (token.contains("id"))
      check_token(json_or<std::string>(token, "content", "", "tokenizer.json"), token.at("id"), rows);
}

// {path: SHA-256} of what the folder is to hold besides the model. A GGUF has the tokenizer in its keys.
Json files_beside(const FileTree& source, const std::string& format) {
  Json files = Json::object();
  for_each_companion(source, [&](const std::string& path, std::string_view content) {
    if (format != "gguf" || path != "tokenizer.json") files[path] = sha256(content).hex();
  });
  return files;
}

}  // namespace

std::string name_of_model(const fs::path& path) {
  return model_file_name(without_slash(fs::absolute(path)).filename().string());
}

void check_export(const ExportSpec& spec, const Model& model, const FileTree& source,
                  const std::string& field) {
  const auto& takes = Catalogue::embedded().format(spec.format, field).takes;
  if (std::find(takes.begin(), takes.end(), model.kind()) == takes.end())
    throw Error(ErrorCode::kInvalidArgument, "WRONG_MODEL_KIND",
                spec.format + " takes no models of the kind " + std::string(model.kind()), field,
                "It takes: " + join(takes, ", ") + ".");
  check_vocabulary(model, source);
  const Params params(spec.params, field + ".params");
  if (const auto check = find_export_check(spec.format)) check({model, source, params, "model", {}, field});
}

Json write_checked_export(const ExportTask& task) {
  fs::create_directories(task.folder.parent_path());
  fs::create_directory(task.folder);
  Claims claims;
  const Params params(task.spec.params, task.field + ".params");
  {
    const KeptHeap heap;  // layers of one size come one after the other
    find_exporter(task.spec.format)({task.model, task.source, params, task.name, task.folder, task.field},
                                    claims);
  }
  const TempDir scratch(task.folder.parent_path());
  const fs::path claimed = task.claims.empty() ? scratch.path() / "claims.json" : task.claims;
  Json claimed_values = claims.to_json();
  claimed_values["meaning"] = meaning_of(task.model);
  claimed_values["files"] = files_beside(task.source, task.spec.format);
  for (const FileTree written = FileTree::on_disk(task.folder); const auto& path : written.paths())
    if (path.ends_with(".json") &&
        !claimed_values["files"].contains(path))  // configurations, as loaders get them
      claimed_values["files"][path] = sha256(written.open(path).read_all().data).hex();
  claimed_values.update(asked_bytes(task.model, task.spec.format, params).to_json());
  write_file_atomic(claimed, claimed_values.dump(2) + "\n");
  Json report = run_fresh({"verify", task.folder.string(), "--claims", claimed.string(), "--threads",
                           std::to_string(at::get_num_threads())},
                          task.folder.parent_path());
  if (const auto unread = unread_tensors(task.model, task.source); !unread.empty())
    report["not_read"] = unread;
  report["format"] = task.spec.format;
  report["params"] = task.spec.params;
  return report;
}

}  // namespace wring
