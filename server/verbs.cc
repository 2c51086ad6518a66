// The verbs of the data folder.
#include "server/verbs.h"

#include <cstdio>
#include <filesystem>
#include <memory>

#include "common/error.h"
#include "common/log.h"
#include "common/text.h"
#include "server/auth/init.h"
#include "server/stage_cache_flags.h"
#include "server/store/audit_rows.h"
#include "server/store/place.h"
#include "server/upkeep/backup.h"
#include "server/upkeep/collect.h"
#include "server/upkeep/data_lock.h"
#include "server/upkeep/fsck.h"

namespace wring {
namespace {

TimeMs in_ms(double hours) {
  return static_cast<TimeMs>(hours * 3'600'000);
}

void print(const Json& report, bool as_json, const std::string& text) {
  std::fputs(((as_json ? report.dump(2) : text) + "\n").c_str(), stdout);
}

std::string in_words(const BackupReport& report, const std::string& what) {
  return what + ": " + std::to_string(report.jobs) + " jobs, " + std::to_string(report.artifacts) +
         " artifacts of " + std::to_string(report.blobs) + " blobs, " + human_bytes(report.bytes) + " (" +
         human_bytes(report.copied_bytes) + " copied now)" +
         (report.lost.empty() ? ""
                              : "\n" + std::to_string(report.lost.size()) +
                                    " blobs are damaged or missing where they were to be copied from: " +
                                    join(report.lost, ", ") + "\nwring-server fsck says what they touch.");
}

std::string in_words(const FsckReport& report) {
  std::string text = std::to_string(report.blobs) + " blobs, " + human_bytes(report.bytes) + ", are whole; " +
                     std::to_string(report.unused) + " are in no artifact";
  for (const auto& line : report.database) text += "\ndatabase: " + line;
  for (const auto& digest : report.unreadable) text += "\ncannot be read: blob " + digest;
  for (const auto& digest : report.corrupt) text += "\nset aside, damaged: blob " + digest;
  for (const auto& artifact : report.artifacts)
    text +=
        "\nartifact " + artifact.digest + " " + artifact.name + " lacks " + std::to_string(artifact.missing) +
        " chunks; jobs that read or made it: " + (artifact.jobs.empty() ? "none" : join(artifact.jobs, ", "));
  return text +
         (report.is_clean() ? "\nclean" : "\nUpload what is missing again (wring put), or restore a backup.");
}

int back_up_to(const std::string& data, const std::string& to, bool as_json) {
  const auto report = back_up(data, to);
  print(report.to_json(), as_json, in_words(report, "backed up to " + to));
  return report.lost.empty() ? 0 : exit_status(ErrorCode::kDataLoss);
}

int restore_from(const std::string& from, const std::string& data, bool as_json) {
  const auto report = restore_backup(from, data, SystemClock());
  print(report.to_json(), as_json, in_words(report, "restored into " + data));
  return report.lost.empty() ? 0 : exit_status(ErrorCode::kDataLoss);
}

int check(const std::string& data, bool as_json) {
  const auto report = check_data(data);
  print(report.to_json(), as_json, in_words(report));
  return report.is_clean() ? 0 : exit_status(ErrorCode::kDataLoss);
}

int collect(const std::string& data, double grace_hours, const StageCacheLimits& stages, bool as_json) {
  check_has_database(data);
  const FileDescriptor lock = lock_data(data);
  JobStore store(data);
  BlobStore blobs(data);
  blobs.claim_place(store.id(), store.is_empty());
  const auto report = collect_and_note(store, blobs, CollectedBy::kOperator, SystemClock().now_ms(),
                                       in_ms(grace_hours), stages);
  print(report.to_json(), as_json,
        std::to_string(report.expired) + " artifacts had expired; forgot " + std::to_string(report.stages) +
            " outputs of stages; deleted " + std::to_string(report.blobs) + " blobs, " +
            human_bytes(report.bytes) + ", and " + std::to_string(report.unfinished) +
            " that were never whole; " + std::to_string(report.kept) + " are in use");
  return 0;
}

// One screen of entries is printed while the next one is read.
int print_audit(const std::string& data, std::int64_t after, bool as_json) {
  check_has_database(data);
  const auto database = open_database(data)->connect();
  for (;;) {
    const auto page = audit_entries(*database, after, 1000);
    if (page.empty()) return 0;
    for (const auto& entry : page) {
      const Json json = entry.to_json();
      const auto text = [&](const char* key) { return json.at(key).get<std::string>(); };
      const std::string line = text("time") + "  " + entry.caller + " (" + entry.scope +
                               (entry.project.empty() ? "" : " of " + entry.project) + ")  " + entry.method +
                               "  " + (entry.object.empty() ? "-" : entry.object) + "  " + entry.outcome +
                               "  " + entry.request_id;
      std::fputs(((as_json ? json.dump() : line) + "\n").c_str(), stdout);
    }
    after = page.back().row;
  }
}

int initialise(const std::string& data, const InitOptions& options, bool as_json) {
  const auto report = init_server(data, options);
  print(report.to_json(), as_json, report.in_words());
  return 0;
}

int initialise_worker(const std::string& data, const std::string& name, int days, bool as_json) {
  const auto report = init_worker(data, name, days);
  print(report.to_json(), as_json, report.in_words());
  return 0;
}

struct Flags {
  std::string data, other;
  InitOptions init;
  double grace_hours = 24;
  StageCacheFlags stages;
  std::int64_t after = 0;
  bool json = false;
};

// Adds verbs to one command; they share their flags.
class Verbs {
 public:
  Verbs(CLI::App& app, int& status) : app_(app), status_(status) {}

  template <typename Run>
  CLI::App* add(const char* name, const char* help, const char* example, Run run) {
    CLI::App* verb = app_.add_subcommand(name, help);
    verb->add_option("--data", flags->data, "Folder of the job database and the blobs");
    verb->add_flag("--json", flags->json, "Print the report as JSON");
    verb->footer(std::string("Example:\n  ") + example);
    verb->callback([flags = flags, &status = status_, verb, run] {
      if (!verb->get_subcommands().empty()) return;  // that one was called
      if (flags->data.empty())
        throw Error(ErrorCode::kInvalidArgument, "MISSING_OPTION", "must be given", "--data",
                    "The folder that wring-server has as --data.");
      init_logging("wring-server", "warn");
      status = run(*flags);
    });
    return verb;
  }

  const std::shared_ptr<Flags> flags = std::make_shared<Flags>();

 private:
  CLI::App& app_;
  int& status_;
};

void add_upkeep(Verbs& verbs) {
  verbs
      .add("backup", "Copy the job database and all artifacts while the server runs",
           "wring-server backup --data /var/lib/wring --to /backup/wring",
           [](const Flags& f) { return back_up_to(f.data, f.other, f.json); })
      ->add_option("--to", verbs.flags->other,
                   "Folder of the backup; a second one into it copies what is new")
      ->required();
  verbs
      .add("restore", "Make a new data folder from a backup",
           "wring-server restore --from /backup/wring --data /var/lib/wring",
           [](const Flags& f) { return restore_from(f.other, f.data, f.json); })
      ->add_option("--from", verbs.flags->other, "Folder of the backup")
      ->required();
  verbs.add("fsck",
            "Read everything in a data folder, or a backup, whose server is stopped; set damaged blobs aside",
            "wring-server fsck --data /var/lib/wring", [](const Flags& f) { return check(f.data, f.json); });
  auto* gc =
      verbs.add("gc", "Delete expired artifacts and unused blobs of a data folder whose server is stopped",
                "wring-server gc --data /var/lib/wring --grace-hours 0",
                [](const Flags& f) { return collect(f.data, f.grace_hours, f.stages.limits(), f.json); });
  verbs.flags->stages.add_to(*gc);
  gc->add_option("--grace-hours", verbs.flags->grace_hours, "Keep blobs that were in use so recently")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
}

void add_init(Verbs& verbs, int& status) {
  const auto days = [](CLI::App* verb, int& value) {
    verb->add_option("--days", value, "How long the certificate is valid")
        ->check(CLI::Range(1, 3650))
        ->capture_default_str();
  };
  auto* init = verbs.add("init",
                         "Make what TLS and tokens need: a certificate authority, the server's certificate, "
                         "an admin's token. Again: a "
                         "new certificate and one more token",
                         "wring-server init --data /var/lib/wring --host wring.example.org",
                         [](const Flags& f) { return initialise(f.data, f.init, f.json); });
  init->add_option("--host", verbs.flags->init.hosts,
                   "A name or address of this server; may be given more than once, beside localhost and this "
                   "machine's name");
  days(init, verbs.flags->init.days);
  Verbs below(*init, status);
  auto* worker = below.add(
      "worker", "Make a worker's certificate", "wring-server init worker vm-a --data /var/lib/wring",
      [](const Flags& f) { return initialise_worker(f.data, f.other, f.init.days, f.json); });
  worker->add_option("NAME", below.flags->other, "The worker's name")->required();
  days(worker, below.flags->init.days);
}

}  // namespace

void add_verbs(CLI::App& app, int& status) {
  app.require_subcommand(0, 1);
  Verbs verbs(app, status);
  add_init(verbs, status);
  verbs
      .add("audit", "Print who changed what, also while the server runs",
           "wring-server audit --data /var/lib/wring --json",
           [](const Flags& f) { return print_audit(f.data, f.after, f.json); })
      ->add_option("--after", verbs.flags->after, "Only entries after this row")
      ->capture_default_str();
  add_upkeep(verbs);
}

}  // namespace wring
