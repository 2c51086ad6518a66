// Which ggml type each tensor of a GGUF export gets, of what was asked.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/error.h"
#include "engine/export/gguf_architecture.h"
#include "engine/methods/method.h"
#include "formats/gguf_mix.h"

namespace wring {

// The parameters type, tensor_types and imatrix of a GGUF export. The constructor throws Error naming the
// parameter.
class GgufTypes {
 public:
  explicit GgufTypes(const Params& params);

  const GgufFileType& file_type() const { return file_type_; }
  // Of each weight, bias and other parameter that the file holds, by Hugging Face's name
  // ("model.norm.weight").
  std::map<std::string, GgmlType> of(const Model& model, const GgufArchitecture& architecture) const;
  // Throws Error naming a pattern of tensor_types that no tensor's name holds.
  void check_patterns(const Model& model, const GgufArchitecture& architecture) const;

 private:
  const GgufFileType& file_type_;
  std::string overrides_field_;
  std::vector<GgmlTypeOverride> overrides_;
  bool has_imatrix_;
};

// What `read` makes of the parameter `name`; its error names the parameter too.
template <typename Read>
decltype(auto) read_parameter(const Params& params, const char* name, const Read& read) {
  try {
    return read();
  } catch (const Error& e) {
    throw Error(e.code(), e.reason(), (e.field().empty() ? "" : e.field() + ": ") + e.message(),
                params.field(name), e.hint());
  }
}

}  // namespace wring
