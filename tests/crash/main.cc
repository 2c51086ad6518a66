// Crashes the coordinator's store at every call that changes a file, recovers, and checks what was promised.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "common/command_line.h"
#include "common/error.h"
#include "common/files.h"
#include "common/log.h"
#include "tests/crash/recorder.h"
#include "tests/crash/verify.h"

namespace wring::crash {
namespace {

namespace fs = std::filesystem;

// From each moment on what is promised.
using Book = std::vector<std::pair<std::size_t, Promises>>;

const Promises& promised_at(const Book& book, std::size_t moment) {
  const auto after =
      std::find_if(book.begin(), book.end(), [&](const auto& entry) { return entry.first > moment; });
  return std::prev(after)->second;
}

// The calls of a run below `root`, which holds `disk`, and what it promised on the way.
struct Run {
  std::vector<Call> calls;
  Book book;
};

Run run_scenario(const fs::path& root, const Disk& disk, Promises promises) {
  Run run;
  run.book.emplace_back(0, promises);
  Recorder recorder(root, disk);
  {
    Session session(root);
    session.run(promises, [&] { run.book.emplace_back(recorder.count(), promises); });
  }
  run.calls = recorder.calls();
  return run;
}

struct Options {
  std::size_t every = 1;
  std::uint64_t seed = 0, seeds = 1;
  std::size_t first = 0;
  bool stop = false;
};

class Crashes {
 public:
  explicit Crashes(const Options& options)
      : options_(options), memory_(fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path()) {}

  // Returns the number of failures.
  std::size_t run() {
    const TempDir root(memory_);
    const Run whole = run_scenario(root.path(), {}, {});
    Disk disk;
    for (std::size_t moment = 0; moment <= whole.calls.size() && !(options_.stop && failures_ > 0);
         ++moment) {
      if (moment >= options_.first && (moment - options_.first) % options_.every == 0)
        crash_at(moment, disk, whole);
      if (moment < whole.calls.size()) disk.apply(whole.calls[moment]);
    }
    report(whole);
    return failures_;
  }

 private:
  static constexpr std::pair<Loss, const char*> kLosses[] = {
      {Loss::kNothing, "the process dies"},
      {Loss::kEverything, "the machine dies, nothing unsynced is left"},
      {Loss::kSome, "the machine dies, some of what is unsynced is left"},
  };

  void crash_at(std::size_t moment, const Disk& before, const Run& whole) {
    const auto& promises = promised_at(whole.book, moment);
    const auto call = moment < whole.calls.size() ? to_string(whole.calls[moment]) : "the end";
    for (const auto& [loss, words] : kLosses)
      for (std::uint64_t seed = 0; seed < (loss == Loss::kSome ? options_.seeds : 1); ++seed) {
        Disk disk = before;
        std::mt19937_64 random(moment << 32 | (options_.seed + seed));
        disk.crash(loss, random);
        const auto where = std::to_string(moment) + ": " + words + " before " + call;
        check(disk, promises, where);
        if (loss == Loss::kNothing) go_on(disk, promises, where);
        ++crashes_;
      }
  }

  void check(const Disk& disk, const Promises& promises, const std::string& where) {
    const TempDir root(memory_);
    disk.write_to(root.path());
    say(verify(root.path(), promises), where);
    run_again(root.path(), promises, where);
  }

  // The clients do all of it once more.
  void run_again(const fs::path& root, Promises promises, const std::string& where) {
    try {
      {
        Session session(root);
        session.run(promises, [] {});
      }
      say(verify(root, promises), where + ", then all is done again");
    } catch (...) {
      say({describe(current_error())}, where + ", then all is done again");
    }
  }

  // The process comes back, all is done again, and then the machine dies: what the first life had not synced
  // must not be taken for safe by the second.
  void go_on(Disk disk, const Promises& promises, const std::string& where) {
    const TempDir root(memory_), after(memory_);
    disk.write_to(root.path());
    try {
      const Run again = run_scenario(root.path(), disk, promises);
      for (const auto& call : again.calls) disk.apply(call);
      std::mt19937_64 random(options_.seed);
      disk.crash(Loss::kEverything, random);
      disk.write_to(after.path());
      say(verify(after.path(), again.book.back().second),
          where + ", all is done again, and the machine dies");
    } catch (...) {
      say({describe(current_error())}, where + ", all is done again");
    }
    ++second_crashes_;
  }

  void say(const std::vector<std::string>& found, const std::string& where) {
    if (found.empty()) return;
    ++failures_;
    std::printf("VIOLATION at call %s\n", where.c_str());
    for (const auto& text : found) std::printf("  %s\n", text.c_str());
  }

  void report(const Run& whole) const {
    std::size_t kinds[8] = {};
    for (const auto& call : whole.calls) ++kinds[static_cast<int>(call.kind)];
    std::printf(
        "%zu calls: %zu writes, %zu truncations, %zu fsyncs of files, %zu of folders, %zu renames, %zu files "
        "made, "
        "%zu removed\n",
        whole.calls.size(), kinds[1], kinds[2], kinds[3], kinds[4], kinds[6], kinds[0], kinds[7]);
    std::printf("%zu crashes at every %zu. call, %zu of them gone on from and crashed again; %zu promises\n",
                crashes_, options_.every, second_crashes_, whole.book.size());
    std::printf("%zu passed, %zu failed\n", crashes_ + second_crashes_ - failures_, failures_);
  }

  Options options_;
  fs::path memory_;  // fsync costs nothing there: what it would keep is known from the calls
  std::size_t crashes_ = 0, second_crashes_ = 0, failures_ = 0;
};

}  // namespace
}  // namespace wring::crash

int main(int argc, char** argv) {
  CLI::App app("Crashes the coordinator's store at every call that changes a file, recovers, and checks.",
               "wring_crash");
  wring::crash::Options options;
  app.add_option("--every", options.every, "Crash at every N-th call alone")->check(CLI::PositiveNumber);
  app.add_option("--first", options.first, "The first call to crash at");
  app.add_option("--seed", options.seed, "Of what is left where some is");
  app.add_option("--seeds", options.seeds, "So many of them, from that one on");
  app.add_flag("--stop", options.stop, "End after the first call at which something is violated");
  CLI11_PARSE(app, argc, argv);
  wring::init_logging("wring_crash", "off");
  std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
  return wring::crash::Crashes(options).run() > 0;
}
