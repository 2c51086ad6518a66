// Method and suite specs: the data files beside the methods, embedded at build; the one source for validation
// and docs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/digest.h"
#include "common/json.h"

namespace wring {

// One parameter of a method or suite.
struct ParameterSpec {
  std::string name;
  std::string type;    // integer, number, boolean, string, choice, sparsity-pattern, data,
                       // stage (recipe/stage_reference.h), stages (recipe/levels.h)
  std::string unit;    // may be empty
  Json default_value;  // null: required
  std::optional<double> minimum, maximum;
  std::optional<double> excluded;  // a number between them that means nothing
  std::vector<Json> choices;       // allowed values; empty: any in range
  std::string help;                // one line
};

// What a method (kind sparse, quantize, ...), an evaluation suite (kind evaluation) or an export format (kind
// export) is.
struct MethodSpec {
  std::string name;
  std::uint32_t version = 1;
  std::string kind;
  std::string summary;
  std::vector<Json> papers;             // {title, venue, arxiv}
  std::vector<std::string> takes;       // decoder-lm, encoder, ...
  std::vector<std::string> needs;       // calibration, training-data, gradients, teacher, test-data ...
  std::string produces;                 // masked, packed-int, ...; empty for suites
  std::string determinism;              // any-threads, equal-threads
  bool keyed_by_hardware = false;       // timings: never answered from a cache
  std::vector<std::string> statistics;  // of layers' inputs that it calibrates with; those that can be shared
  std::map<std::string, std::string> metrics;  // of suites: name -> better (lower, higher, or neither)
  std::vector<std::string> compares;           // of suites: metrics that the input has none of
  std::vector<std::int64_t> bits;              // of formats: what an integer layer may have; empty: any
  std::vector<std::string> refuses;            // of formats: methods whose result they have no place for
  std::vector<std::string> holds;              // of formats: what methods produce that is theirs; empty: any
  std::vector<ParameterSpec> parameters;
  std::string text;  // the YAML it was read from

  const ParameterSpec* parameter(std::string_view name) const;
  Json to_json() const;
};

// Parses one spec file. Throws Error(kInvalidArgument, "BAD_SPEC") that names the member.
MethodSpec parse_method_spec(std::string_view yaml);

// All known methods, suites and formats. Immutable.
class Catalogue {
 public:
  explicit Catalogue(std::vector<MethodSpec> specs);
  static const Catalogue& embedded();

  const MethodSpec* find(std::string_view name) const;  // all share one name space
  const MethodSpec& method(std::string_view name, const std::string& field)
      const;  // throws kInvalidArgument "UNKNOWN_METHOD", nearest name in the hint
  const MethodSpec& suite(std::string_view name, const std::string& field) const;   // throws "UNKNOWN_SUITE"
  const MethodSpec& format(std::string_view name, const std::string& field) const;  // throws "UNKNOWN_FORMAT"
  const MethodSpec& any(std::string_view name, const std::string& field) const;     // throws "UNKNOWN_METHOD"
  std::vector<const MethodSpec*> methods() const;                                   // by name
  std::vector<const MethodSpec*> suites() const;
  std::vector<const MethodSpec*> formats() const;
  const Digest& digest() const { return digest_; }  // of all specs' parsed contents

 private:
  std::vector<const MethodSpec*> all_of(std::string_view noun) const;
  const MethodSpec& of_noun(std::string_view noun, std::string_view name, const std::string& field,
                            const char* reason) const;
  std::map<std::string, MethodSpec, std::less<>> specs_;
  Digest digest_;
};

}  // namespace wring
