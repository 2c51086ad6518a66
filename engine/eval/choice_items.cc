// Reading the data sets, writing the prompts.
#include "engine/eval/choice_items.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/json.h"
#include "formats/csv.h"

namespace wring {
namespace {

using Records = std::vector<std::vector<std::string>>;

[[noreturn]] void throw_bad_items(const std::string& file, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_ITEMS", why, file);
}

// Records of question, four choices and the right one's letter.
Records read_questions(const FileTree& data, const std::string& path) {
  const auto file = data.open(path);
  auto records = parse_csv(file.read_all().text(), path);
  if (records.empty()) throw_bad_items(path, "there is no question in it");
  for (std::size_t i = 0; i < records.size(); ++i) {
    const auto& record = records[i];
    if (record.size() != 6 || record[5].size() != 1 || record[5][0] < 'A' || record[5][0] > 'D')
      throw_bad_items(path,
                      "record " + std::to_string(i + 1) + " is not question, four choices, letter A to D");
  }
  return records;
}

struct Subject {
  std::string name;
  Records dev, test;
};

std::vector<Subject> read_subjects(const FileTree& data) {
  constexpr std::string_view kTest = "_test.csv";
  std::map<std::string, Subject> subjects;
  for (const auto& path : data.paths()) {
    if (!path.ends_with(kTest)) continue;
    const auto begin = path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1;
    const auto name = path.substr(begin, path.size() - begin - kTest.size());
    Subject subject{name, {}, read_questions(data, path)};
    for (const auto& other : data.paths())
      if (other == name + "_dev.csv" || other.ends_with("/" + name + "_dev.csv"))
        subject.dev = read_questions(data, other);
    std::replace(subject.name.begin(), subject.name.end(), '_', ' ');
    subjects[name] = std::move(subject);
  }
  if (subjects.empty())
    throw_bad_items(data.origin(), "there is no SUBJECT_test.csv: hand in MMLU's folder with dev and test");
  std::vector<Subject> all;
  for (auto& [name, subject] : subjects) all.push_back(std::move(subject));
  return all;
}

// Calls take(subject, record) for `count` test records, the first of each subject, then the second ...
template <typename Take>
void in_turn(const std::vector<Subject>& subjects, std::size_t count, const Take& take) {
  std::size_t taken = 0, longest = 0;
  for (const auto& subject : subjects) longest = std::max(longest, subject.test.size());
  for (std::size_t i = 0; i < longest; ++i)
    for (const auto& subject : subjects) {
      if (i >= subject.test.size()) continue;
      if (count > 0 && taken++ == count) return;
      take(subject, subject.test[i]);
    }
}

std::string question_text(const std::vector<std::string>& record) {
  std::string text = record[0];
  for (std::size_t i = 0; i < 4; ++i)
    text += "\n" + std::string(1, static_cast<char>('A' + i)) + ". " + record[1 + i];
  return text + "\nAnswer:";
}

std::string letters_prompt(const Subject& subject, std::size_t shots,
                           const std::vector<std::string>& record) {
  std::string prompt =
      "The following are multiple choice questions (with answers) about " + subject.name + ".\n\n";
  for (std::size_t i = 0; i < shots; ++i)
    prompt += question_text(subject.dev[i]) + " " + subject.dev[i][5] + "\n\n";
  return prompt + question_text(record);
}

}  // namespace

std::vector<ChoiceItem> mmlu_letters(const FileTree& data, std::size_t shots, std::size_t count,
                                     const Fits& fits) {
  std::vector<ChoiceItem> items;
  in_turn(read_subjects(data), count, [&](const Subject& subject, const std::vector<std::string>& record) {
    std::size_t examples = std::min(shots, subject.dev.size());
    while (examples > 0 && !fits(letters_prompt(subject, examples, record))) --examples;
    items.push_back({subject.name,
                     letters_prompt(subject, examples, record),
                     {" A", " B", " C", " D"},
                     static_cast<std::size_t>(record[5][0] - 'A')});
  });
  return items;
}

std::vector<ChoiceItem> mmlu_answers(const FileTree& data, std::size_t count) {
  std::vector<ChoiceItem> items;
  in_turn(read_subjects(data), count, [&](const Subject& subject, const std::vector<std::string>& record) {
    ChoiceItem item{subject.name,
                    "Question: " + record[0] + "\nAnswer:",
                    {},
                    static_cast<std::size_t>(record[5][0] - 'A')};
    for (std::size_t i = 1; i <= 4; ++i) item.candidates.push_back(" " + record[i]);
    items.push_back(std::move(item));
  });
  return items;
}

std::vector<ChoiceItem> piqa(const FileTree& data, std::size_t count) {
  const auto only = [&](const char* ending) {
    auto paths = data.paths();
    std::erase_if(paths, [&](const std::string& path) { return !path.ends_with(ending); });
    if (paths.size() != 1)
      throw_bad_items(data.origin(), "there are " + std::to_string(paths.size()) + " *" + ending +
                                         " files, PIQA has one *.jsonl and one *.lst");
    return paths.front();
  };
  const auto questions = only(".jsonl"), labels = only(".lst");
  const auto lines = [&](const std::string& path) {
    const auto bytes = data.open(path).read_all();
    std::vector<std::string> found;
    for (std::size_t start = 0; start < bytes.data.size();) {
      const auto end = std::min(bytes.text().find('\n', start), bytes.text().size());
      found.emplace_back(bytes.text().substr(start, end - start));
      start = end + 1;
    }
    return found;
  };
  const auto texts = lines(questions), right = lines(labels);
  if (texts.empty() || texts.size() != right.size())
    throw_bad_items(labels, "has " + std::to_string(right.size()) + " labels for " +
                                std::to_string(texts.size()) + " questions");
  std::vector<ChoiceItem> items;
  for (std::size_t i = 0; i < texts.size() && (count == 0 || i < count); ++i) {
    const std::string what = questions + ":" + std::to_string(i + 1);
    if (right[i] != "0" && right[i] != "1")
      throw_bad_items(labels + ":" + std::to_string(i + 1), "is neither 0 nor 1");
    const auto item = parse_json(texts[i], what);
    items.push_back(
        {"",
         "Question: " + json_at<std::string>(item, "goal", what) + "\nAnswer:",
         {" " + json_at<std::string>(item, "sol1", what), " " + json_at<std::string>(item, "sol2", what)},
         right[i] == "1"});
  }
  return items;
}

std::vector<ChoiceItem> invented_facts(std::size_t count, std::size_t facts, bool context,
                                       std::uint64_t seed) {
  constexpr std::array kFirst{"Bra", "Vor", "Kel", "Tam", "Ost", "Lun",
                              "Dre", "Gal", "Mir", "Sev", "Hol", "Pir"};
  constexpr std::array kSecond{"denau", "mistow", "vania", "berry", "quill",
                               "holm",  "stead",  "garth", "wick",  "moor"};
  constexpr std::array kThings{"bridge",      "library", "lighthouse", "theatre",
                               "observatory", "harbour", "museum"};
  std::mt19937_64 random(seed);  // the standard fixes its numbers; distributions it does not
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  std::vector<ChoiceItem> items;
  while (items.size() < count) {
    std::set<std::string> known;
    std::vector<std::pair<std::string, std::string>> told;  // "the bridge of Vorholm", "1734"
    while (told.size() < facts) {
      const auto subject = std::string("the ") + kThings[below(kThings.size())] + " of " +
                           kFirst[below(kFirst.size())] + kSecond[below(kSecond.size())];
      const auto year = std::to_string(1500 + below(500));
      if (known.insert(subject).second && known.insert(year).second) told.emplace_back(subject, year);
    }
    std::string paragraph;
    for (const auto& [subject, year] : told)
      paragraph += "T" + subject.substr(1) + " was built in " + year + ". ";
    std::array<std::size_t, 4> shown{};  // four facts that differ, one of them asked for
    for (std::size_t i = 0; i < shown.size(); ++i) do
        shown[i] = below(facts);
      while (std::find(shown.begin(), shown.begin() + static_cast<std::ptrdiff_t>(i), shown[i]) !=
             shown.begin() + static_cast<std::ptrdiff_t>(i));
    ChoiceItem item{"", (context ? paragraph + "\n\n" : ""), {}, below(shown.size())};
    item.prompt += "Question: In which year was " + told[shown[item.answer]].first + " built?\nAnswer: In";
    for (const auto i : shown) item.candidates.push_back(" " + told[i].second);
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace wring
