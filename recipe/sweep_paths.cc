// From a path to a place in a recipe.
#include "recipe/sweep_paths.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "common/text.h"
#include "recipe/recipe.h"
#include "recipe/utf8.h"

namespace wring {
namespace {

struct List {
  const char* name;
  const char* kind;
};
constexpr List kLists[] = {{"stages", "method"}, {"evaluations", "suite"}, {"exports", "format"}};

class PathReader {
 public:
  PathReader(const std::string& path, const Json& recipe, const std::string& field, const Source& source)
      : path_(path), recipe_(recipe), field_(field), source_(source) {}

  SweepPath read() const {
    SweepPath found;
    if (path_ == "model") {
      found.kind = SweepPath::Kind::kModel;
    } else if (path_ == "seed") {
      found.kind = SweepPath::Kind::kSeed;
    } else if (path_.starts_with("data.")) {
      found.kind = SweepPath::Kind::kData;
      found.data = path_.substr(5);
      if (!is_data_name(found.data)) fail("a data input has 1 to 64 letters, digits, '-' or '_'");
    } else {
      return in_recipe();
    }
    return found;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    source_.fail("UNKNOWN_PATH", field_, why,
                 "A path is one of stages[N].params.NAME, stages.METHOD.NAME, stages[N].method, stages[N], "
                 "the same of "
                 "evaluations and exports, model, data.NAME, seed. Here: " +
                     join(known_entries(), ", ") + ".");
  }

  std::vector<std::string> known_entries() const {
    std::vector<std::string> known;
    for (const auto& list : kLists)
      for (std::size_t i = 0; i < recipe_.at(list.name).size() && known.size() < 20; ++i)
        known.push_back(std::string(list.name) + "[" + std::to_string(i) + "] (" + name_at(list, i) + ")");
    return known;
  }

  std::string name_at(const List& list, std::size_t i) const {
    const Json& entry = recipe_.at(list.name)[i];
    return entry.contains(list.kind) && entry[list.kind].is_string() ? entry[list.kind].get<std::string>()
                                                                     : "?";
  }

  SweepPath in_recipe() const {
    const auto cut = std::min(path_.find_first_of(".["), path_.size());
    const std::string name = path_.substr(0, cut);
    const auto* const list =
        std::find_if(std::begin(kLists), std::end(kLists), [&](const auto& l) { return name == l.name; });
    if (list == std::end(kLists))
      fail_unknown(name, {"stages", "evaluations", "exports", "model", "data", "seed"});
    std::size_t rest = cut;
    const std::size_t index = entry_of(*list, rest);
    SweepPath found;
    found.pointer = Json::json_pointer() / list->name / index;
    return in_entry(std::move(found), *list, path_.substr(rest));
  }

  [[noreturn]] void fail_unknown(const std::string& name, const std::vector<std::string>& known) const {
    const auto nearest = nearest_name(name, known);
    fail("there is no '" + shortened(name, 80) + "' to vary" +
         (nearest.empty() ? "" : "; did you mean '" + nearest + "'?"));
  }

  // The index that the selector at `rest` names; moves `rest` behind it.
  std::size_t entry_of(const List& list, std::size_t& rest) const {
    const std::size_t count = recipe_.at(list.name).size();
    if (rest >= path_.size()) fail("it names the whole list; name one entry");
    if (path_[rest] == '[') {
      const auto close = path_.find(']', rest);
      std::size_t index = 0;
      const char* const end = path_.data() + std::min(close, path_.size());
      const auto [read, failed] = std::from_chars(path_.data() + rest + 1, end, index);
      if (close == std::string::npos || failed != std::errc() || read != end)
        fail("the index is no whole number");
      if (index >= count)
        fail("the recipe has " + std::to_string(count) + " " + list.name + ", counted from 0; there is no [" +
             std::to_string(index) + "]");
      rest = close + 1;
      return index;
    }
    const auto dot = std::min(path_.find('.', rest + 1), path_.size());
    const auto name = path_.substr(rest + 1, dot - rest - 1);
    rest = dot;
    return only_entry(list, name);
  }

  std::size_t only_entry(const List& list, const std::string& name) const {
    std::optional<std::size_t> found;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < recipe_.at(list.name).size(); ++i) {
      names.push_back(name_at(list, i));
      if (names.back() != name) continue;
      if (found)
        fail("several " + std::string(list.name) + " are '" + shortened(name, 80) + "'; give an index");
      found = i;
    }
    if (!found) fail_unknown(name, names);
    return *found;
  }

  SweepPath in_entry(SweepPath found, const List& list, const std::string& rest) const {
    if (rest.empty()) {
      found.structural = true;
      return found;
    }
    if (rest[0] != '.' || rest.size() < 2) fail("a '.' and a name must follow the entry");
    std::string name = rest.substr(1);
    const bool stage = std::string_view(list.name) == "stages";
    if (name == list.kind || name == "params") {
      found.structural = true;
    } else if (name == "when" || (stage && (name == "targets" || name == "ignore"))) {
    } else {
      if (name.starts_with("params.")) name = name.substr(7);
      if (name.empty() || name.find_first_of(".[]") != std::string::npos)
        fail("it goes deeper than a parameter");
      found.pointer /= "params";
    }
    found.pointer /= name;
    return found;
  }

  const std::string& path_;
  const Json& recipe_;
  const std::string& field_;
  const Source& source_;
};

}  // namespace

std::string SweepPath::canonical() const {
  switch (kind) {
    case Kind::kModel:
      return "model";
    case Kind::kSeed:
      return "seed";
    case Kind::kData:
      return "data." + data;
    case Kind::kRecipe:
      return pointer.to_string();
  }
  return "";
}

SweepPath resolve_path(const std::string& path, const Json& recipe, const std::string& field,
                       const Source& source) {
  return PathReader(path, recipe, field, source).read();
}

}  // namespace wring
