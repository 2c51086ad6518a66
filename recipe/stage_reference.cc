// Earlier stages by method or index.
#include "recipe/stage_reference.h"

#include "common/text.h"

namespace wring {
namespace {

constexpr std::size_t kMostShown = 20;

std::string place(std::size_t index) {
  return "stages[" + std::to_string(index) + "]";
}

// Of the stages in [begin, end) those that run the method.
std::vector<std::size_t> running(const std::string& method, const std::vector<StageSpec>& stages,
                                 std::size_t begin, std::size_t end) {
  std::vector<std::size_t> found;
  for (std::size_t i = begin; i < end; ++i)
    if (stages[i].method == method) found.push_back(i);
  return found;
}

// The stage that `named`, a parameter of stages[index], means.
class ReferenceReader {
 public:
  ReferenceReader(std::size_t index, const std::vector<StageSpec>& stages, const std::string& field,
                  const Source& source)
      : index_(index), stages_(stages), field_(field), source_(source) {}

  std::size_t read(const Json& named) const {
    const std::size_t found = named.is_string() ? by_method(named.get<std::string>()) : by_index(named);
    if (found + 1 == index_)
      source_.fail("NO_REFERENCE", field_,
                   place(found) + " (" + stages_[found].method + ") makes what this stage begins with",
                   known());
    return found;
  }

 private:
  std::size_t by_method(const std::string& method) const {
    const auto before = running(method, stages_, 0, index_);
    if (before.size() == 1) return before.front();
    if (before.size() > 1) {
      std::vector<std::string> places;
      for (const std::size_t i : before) places.push_back(std::to_string(i));
      fail("several stages before this one run '" + method + "'",
           "Give the index: " + join(places, " or ") + ".");
    }
    const auto after = running(method, stages_, index_, stages_.size());
    if (!after.empty()) not_before(after.front());
    std::vector<std::string> methods{"input"};
    for (std::size_t i = 0; i < index_; ++i) methods.push_back(stages_[i].method);
    const auto nearest = nearest_name(method, methods);
    fail("no stage before this one runs '" + shortened(method, 80) + "'",
         nearest.empty() ? "" : "Did you mean '" + nearest + "'?");
  }

  std::size_t by_index(const Json& named) const {
    if (named.get<std::uint64_t>() >= stages_.size()) fail("there is no stage of index " + shown(named), "");
    const auto found = named.get<std::size_t>();
    if (found >= index_) not_before(found);
    return found;
  }

  [[noreturn]] void not_before(std::size_t found) const {
    fail(found == index_ ? "a stage is no reference of itself"
                         : place(found) + " (" + stages_[found].method + ") runs after this stage",
         "");
  }

  [[noreturn]] void fail(const std::string& why, const std::string& hint) const {
    source_.fail("UNKNOWN_REFERENCE", field_, why, hint + (hint.empty() ? "" : " ") + known());
  }

  // What it may be.
  std::string known() const {
    std::vector<std::string> names{"input"};
    for (std::size_t i = 0; i + 1 < index_ && i < kMostShown; ++i)
      names.push_back(std::to_string(i) + " (" + stages_[i].method + ")");
    return "It is the input, or a stage further ahead by its method or index: " + join(names, ", ") + ".";
  }

  std::size_t index_;
  const std::vector<StageSpec>& stages_;
  const std::string& field_;
  const Source& source_;
};

}  // namespace

void resolve_references(std::vector<StageSpec>& stages, const Source& source) {
  for (std::size_t i = 0; i < stages.size(); ++i) {
    if (!names_reference(stages[i])) continue;
    Json& named = stages[i].params["reference"];
    const std::size_t found = ReferenceReader(i, stages, place(i) + ".params.reference", source).read(named);
    const std::string& method = stages[found].method;
    named = running(method, stages, 0, i).size() == 1 ? Json(method) : Json(found);
  }
}

bool names_reference(const StageSpec& stage) {
  return stage.params.contains("reference") && stage.params.at("reference") != "input";
}

std::optional<std::size_t> reference_index(const std::vector<StageSpec>& stages, std::size_t index) {
  if (!names_reference(stages[index])) return std::nullopt;
  const Json& named = stages[index].params.at("reference");
  if (named.is_number()) return named.get<std::size_t>();
  return running(named.get<std::string>(), stages, 0, index).front();
}

}  // namespace wring
