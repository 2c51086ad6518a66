// The program `wring`.
#include <cstdlib>

#include "client/cli/context.h"
#include "common/subprocess.h"

int main(int argc, char** argv) {
  ::setenv("GRPC_VERBOSITY", "NONE", 0);  // what it would print is in our errors
  wring::limit_spinning_of_children();
  return wring::run_cli({argv + 1, argv + argc});
}
