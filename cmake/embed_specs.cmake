# Writes OUTPUT: a C++ file with the text of every file in SPECS, as wring::embedded_method_specs().
set(text "// Generated from engine/methods/*/*.spec.yaml.\n#include <string_view>\n#include <vector>\n\nnamespace wring {\nstd::vector<std::string_view> embedded_method_specs() {\n  return {\n")
list(SORT SPECS)
foreach(spec IN LISTS SPECS)
  file(READ ${spec} content)
  string(APPEND text "R\"WRINGSPEC(${content})WRINGSPEC\",\n")
endforeach()
string(APPEND text "  };\n}\n}  // namespace wring\n")
file(WRITE ${OUTPUT} "${text}")
