// Which initializers of a graph training moves.
#pragma once

#include <map>
#include <string>

#include "formats/onnx/onnx.h"

namespace wring {

// What the nodes that read an initializer make of it, the graphs inside nodes included.
struct InitializerRole {
  bool weight = false;   // the place of a weight, bias or gain
  bool fixed = false;    // the place of a statistic, a bound, a size
  int codes_a_byte = 1;  // of a weight whose codes are packed
};

// By the value's name; roles reach through nodes that only move values.
std::map<std::string, InitializerRole> initializer_roles(const OnnxGraph& graph);

}  // namespace wring
