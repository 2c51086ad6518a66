// Arrays by name, checked against the inputs.
#include "engine/graph/input_arrays.h"

#include <functional>

#include "common/error.h"
#include "common/text.h"
#include "engine/graph/onnx_tensor.h"
#include "engine/model/tensor_file.h"
#include "formats/datasets/arrays.h"
#include "formats/safetensors.h"

namespace wring {
namespace {

[[noreturn]] void throw_bad(const std::string& place, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "BAD_DATA", why, place,
              "Hand in an .npz or .safetensors file with an array of examples for each input of the graph.");
}

NamedValues of_npz(const FileView& file) {
  const NpzReader reader(file);
  NamedValues arrays;
  for (const auto& name : reader.names()) arrays[name] = tensor_of(reader.read(name));
  return arrays;
}

NamedValues of_safetensors(const FileTree& files) {
  const SafetensorsReader reader(files);
  NamedValues arrays;
  for (const auto& name : reader.names()) arrays[name] = read_tensor(reader, name).clone();
  return arrays;
}

NamedValues all_arrays(const FileTree& files, const std::string& place) {
  for (const auto& path : files.paths()) {
    if (path.ends_with(".npz")) return of_npz(files.open(path));
    if (path.ends_with(".safetensors")) return of_safetensors(files);
  }
  throw_bad(place, files.origin() + " holds no arrays");
}

}  // namespace

NamedValues read_input_arrays(const Graph& graph, const FileTree& files, const std::string& name) {
  const std::string place = "data." + name;
  const NamedValues arrays = all_arrays(files, place);
  NamedValues inputs;
  for (const auto& input : graph.inputs()) {
    const auto it = arrays.find(input.name);
    if (it == arrays.end()) {
      std::vector<std::string> have;
      for (const auto& [key, value] : arrays) have.push_back(key);
      throw_bad(place, "no array '" + input.name + "'; there are: " + join(have, ", "));
    }
    const auto type = scalar_type(*input.type, input.name);
    if (at::isFloatingType(it->second.scalar_type()) != at::isFloatingType(type))
      throw_bad(place, "the array '" + input.name + "' is not of the type of the graph's input");
    inputs[input.name] = it->second.to(type);
    if (inputs[input.name].dim() == 0 || inputs[input.name].size(0) == 0 ||
        inputs[input.name].size(0) != inputs.begin()->second.size(0))
      throw_bad(place, "the arrays are not of equally many examples");
  }
  if (inputs.empty()) throw_bad(place, "the graph has no inputs");
  return inputs;
}

}  // namespace wring
